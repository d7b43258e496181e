# The guest of orchestrator/kvm_probe.h, at BASE and entered there as a kernel is (protocol/machine.capnp, VcpuState):
# does what a kernel does at its start, counting its steps at STEPS, and then loops for ever, counting at LOOPS. A step
# that fails powers the machine off. Nothing here needs a linker: addresses are absolute or relative to RIP.

    .set    BASE, 0x100000
    .set    STEPS, 0x1000
    .set    LOOPS, 0x1008
    .set    IDT, 0x2000
    .set    LSTAR, 0xc0000082
    .set    POWER_OFF, 0x604

    .section .rodata
    .globl  ktstr_probe_guest, ktstr_probe_guest_end
    .balign 16
ktstr_probe_guest:
    .code64
    lgdt    gdt_pointer(%rip)           # 1: own GDT, reloaded segments
    pushq   $0x10
    leaq    1f(%rip), %rax
    pushq   %rax
    lretq
1:  movl    $0x18, %eax
    movl    %eax, %ds
    movl    %eax, %ss
    incl    STEPS

    movl    $LSTAR, %ecx                # 2: MSRs keep their values
    movl    $0x12345678, %eax
    movl    $0xffff8000, %edx
    wrmsr
    xorl    %eax, %eax
    xorl    %edx, %edx
    rdmsr
    cmpl    $0x12345678, %eax
    jne     fail
    cmpl    $0xffff8000, %edx
    jne     fail
    incl    STEPS

    movq    %cr3, %rax                  # 3: page tables, TLB, CR4
    movq    %rax, %cr3
    movq    %cr4, %rax
    orq     $0x80, %rax                 # PGE
    movq    %rax, %cr4
    invlpg  BASE
    incl    STEPS

    xorl    %eax, %eax                  # 4: CPUID says something
    cpuid
    testl   %eax, %eax
    jz      fail
    incl    STEPS

    lidt    idt_pointer(%rip)           # 5: exceptions reach a handler and return
    movl    $IDT + 3 * 16, %edi
    leaq    handler(%rip), %rax
    movw    %ax, (%rdi)
    movw    $0x10, 2(%rdi)
    movw    $0x8e00, 4(%rdi)
    shrq    $16, %rax
    movw    %ax, 6(%rdi)
    movl    $0, 8(%rdi)
    xorl    %ebx, %ebx
    int3
    cmpl    $1, %ebx
    jne     fail
    incl    STEPS

    swapgs                              # 6: per-CPU base, interrupt flag
    pushfq
    popq    %rax
    sti
    cli
    rdtsc
    incl    STEPS

2:  movl    $1000, %ecx
3:  decl    %ecx
    jnz     3b
    addq    $1000, LOOPS
    jmp     2b

fail:
    movw    $POWER_OFF, %dx
    movw    $0x2000, %ax
    outw    %ax, %dx
    jmp     fail

handler:
    incl    %ebx
    iretq

    .balign 8
gdt:
    .quad   0, 0
    .quad   0x00af9a000000ffff
    .quad   0x00cf92000000ffff
gdt_pointer:
    .word   gdt_pointer - gdt - 1
    .quad   BASE + (gdt - ktstr_probe_guest)
idt_pointer:
    .word   0xfff
    .quad   IDT
ktstr_probe_guest_end:

    .section .note.GNU-stack, "", @progbits
