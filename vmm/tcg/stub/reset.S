# The firmware of a ktstr machine under an emulator: 64 KiB mapped just below 4 GiB. It does what KVM_SET_REGS does
# under KVM: puts the boot vCPU into the state of PreparedMachine.vcpus[0] and jumps. Other vCPUs wait for INIT/SIPI
# and never run it. It also makes port 0x604 the power switch that it is under KVM. The parameter block is filled in by vmm/tcg/firmware.h in a copy of this image.
#
#   reset vector (real mode, CS base 0xffff0000) -> 32-bit protected mode -> PAE, CR3, long mode -> rip

    .set    rom_base, 0xffff0000

    .section .parameters, "a"
    .globl  parameters
parameters:
    .ascii  "ktstrROM"
rip:    .quad 0
rsi:    .quad 0
rsp:    .quad 0
cr3:    .quad 0
gdt:    .word 0             # limit
        .quad 0             # base
        .zero 6

    .section .code, "ax"
    .code16
start:
    cli
    cld
    lgdtl   %cs:(flat_pointer - rom_base)
    movl    %cr0, %eax
    orl     $1, %eax        # PE
    movl    %eax, %cr0
    ljmpl   $0x08, $protected

    .code32
protected:
    movl    $0x10, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    movw    $0xcf8, %dx     # ICH9's LPC bridge is PCI device 00:1f.0
    movl    $0x8000f840, %eax
    outl    %eax, %dx
    movw    $0xcfc, %dx
    movl    $0x601, %eax
    outl    %eax, %dx       # PMBASE: PM1a_CNT is at 0x604
    movw    $0xcf8, %dx
    movl    $0x8000f844, %eax
    outl    %eax, %dx
    movw    $0xcfc, %dx
    movb    $0x80, %al
    outb    %al, %dx        # ACPI_CNTL: ACPI_EN
    movl    %cr4, %eax
    orl     $0x20, %eax     # PAE
    movl    %eax, %cr4
    movl    cr3, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx
    rdmsr
    orl     $0x100, %eax    # EFER.LME
    wrmsr
    movl    %cr0, %eax
    orl     $0x80000000, %eax
    movl    %eax, %cr0      # PG: long mode is active, in a 32-bit code segment
    lgdt    gdt
    ljmp    $0x10, $long_mode

    .code64
long_mode:
    movl    $0x18, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    movl    $parameters, %r8d
    movq    (rsp - parameters)(%r8), %rsp
    movq    (rsi - parameters)(%r8), %rsi
    movq    (rip - parameters)(%r8), %rax
    xorl    %ebx, %ebx
    xorl    %ecx, %ecx
    xorl    %edx, %edx
    xorl    %edi, %edi
    xorl    %ebp, %ebp
    xorl    %r8d, %r8d
    jmp     *%rax

    .balign 8
flat_gdt:                   # until the machine's own GDT is loaded
    .quad   0
    .quad   0x00cf9a000000ffff
    .quad   0x00cf92000000ffff
flat_pointer:
    .word   flat_pointer - flat_gdt - 1
    .long   flat_gdt

    .section .vector, "ax"
    .code16
    jmp     start
    .balign 16, 0

    .section .note.GNU-stack, "", @progbits
