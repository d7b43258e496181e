# A guest for tests: 64-bit, flat, loaded at 1 MiB with identity-mapped memory. It counts at COUNTER and obeys one-byte
# commands from the doorbell (COM2), on the boot vCPU and without interrupts.
#
#   e B  sends B + 1 to the doorbell             c    writes "hi\n" to the console
#   m    copies 4096 bytes base -> mailbox+4096  w    writes 0xee to the base's first byte, reads it to mailbox+0
#   i    inverts every byte of the mailbox       l    writes 4 KiB of 'x' to the console
#   p    reads PORT, where nothing is: a byte to mailbox+0, a word to +2, a double word to +4, 8 bytes to +8; writes it
#   u    reads 8 bytes at NOWHERE, where nothing is, to mailbox+0; writes them back
#   b    writes the base's first 4096 bytes to the console, blindly: whether the transmitter is busy or not
#   s    starts all other vCPUs by INIT and SIPI; each counts at AP_COUNTERS + 8 * (its APIC id) for ever
#   x    starts the vCPU of APIC id FAR_ID, which no 8-bit destination reaches, by x2APIC messages; it counts like those,
#        at the low 8 bits of its id
#   y    starts that vCPU, which halts until it is interrupted, counts that at INTERRUPTS, and halts again; leads the
#        doorbell's line to it by the I/O APIC, with a destination of 15 bits, and lets the doorbell interrupt
#   t    has its hypervisor keep kvm-clock's time at KVM_CLOCK
#   a B  answers 'k', halts until the doorbell interrupts, counts that at INTERRUPTS, and goes on with command B;
#        a hypervisor may end a HLT for no reason: then it halts again
#   h    halts for ever                          r    resets by the keyboard controller
#   o    powers off                              f    triple fault
# Each but e, a and the last four answers 'k' on the doorbell when done; e answers its byte alone.

    .set    BASE_GPA, 0x6000        # given by the host
    .set    MAILBOX_GPA, 0x6008     # given by the host
    .set    COUNTER, 0x6010         # goes up all the time
    .set    STARTS, 0x6018          # how often the entry was reached
    .set    BOOT_RSI, 0x6020        # what RSI was at the entry
    .set    INTERRUPTS, 0x6028      # how many came
    .set    AP_COUNTERS, 0x6100
    .set    IDT, 0x5000
    .set    KVM_CLOCK, 0x6a00       # struct pvclock_vcpu_time_info
    .set    AP_PAGE, 0x8000
    .set    MAILBOX_BYTES, 65536
    .set    PORT, 0x1234
    .set    NOWHERE, 0x80000000

    .set    COM1, 0x3f8
    .set    COM2, 0x2f8
    .set    BELL_VECTOR, 0x23       # of IRQ 3, with the 8259's first at 0x20
    .set    APIC, 0xfee00000
    .set    SPURIOUS, 0xf0
    .set    ICR, 0x300
    .set    FAR_ID, 300
    .set    IA32_APIC_BASE, 0x1b
    .set    X2APIC_SPURIOUS, 0x80f
    .set    X2APIC_EOI, 0x80b
    .set    X2APIC_ICR, 0x830
    .set    IO_APIC, 0xfec00000
    .set    BELL_ENTRY, 0x10 + 2 * 3    # its register: the low half of line 3's entry
    .set    FAR_COUNTER, AP_COUNTERS + 8 * (FAR_ID & 0xff)
    .set    LINT0, 0x350
    .set    MSR_KVM_SYSTEM_TIME_NEW, 0x4b564d01

    .code64
    .text
    .globl  _start
_start:
    cld
    lock incq STARTS
    movq    %rsi, BOOT_RSI
    movq    BASE_GPA, %r12
    movq    MAILBOX_GPA, %r13

next:
    lock incq COUNTER
    movw    $COM2 + 5, %dx
    inb     %dx, %al
    testb   $1, %al
    jz      next
    movw    $COM2, %dx
    inb     %dx, %al
    cmpb    $'e', %al
    je      echo
    cmpb    $'c', %al
    je      console
    cmpb    $'m', %al
    je      copy
    cmpb    $'w', %al
    je      write_base
    cmpb    $'i', %al
    je      invert
    cmpb    $'l', %al
    je      flood
    cmpb    $'p', %al
    je      unknown_port
    cmpb    $'u', %al
    je      unknown_memory
    cmpb    $'b', %al
    je      blind
    cmpb    $'s', %al
    je      start_aps
    cmpb    $'x', %al
    je      start_far
    cmpb    $'y', %al
    je      interrupt_far
    cmpb    $'t', %al
    je      keep_time
    cmpb    $'a', %al
    je      await
    cmpb    $'h', %al
    je      halt
    cmpb    $'o', %al
    je      power_off
    cmpb    $'r', %al
    je      reset
    cmpb    $'f', %al
    je      fault
    jmp     next

echo:
    movw    $COM2 + 5, %dx
    inb     %dx, %al
    testb   $1, %al
    jz      echo
    movw    $COM2, %dx
    inb     %dx, %al
    incb    %al
    call    ring
    jmp     next

console:
    movb    $'h', %al
    call    put
    movb    $'i', %al
    call    put
    movb    $'\n', %al
    call    put
    jmp     done

copy:
    movq    %r12, %rsi
    leaq    4096(%r13), %rdi
    movl    $4096, %ecx
    rep movsb
    jmp     done

write_base:
    movb    $0xee, (%r12)
    movb    (%r12), %al
    movb    %al, (%r13)
    jmp     done

invert:
    movl    $MAILBOX_BYTES / 8, %ecx
1:  notq    -8(%r13, %rcx, 8)
    decl    %ecx
    jnz     1b
    jmp     done

flood:
    movl    $4096, %ecx
1:  movb    $'x', %al
    call    put
    decl    %ecx
    jnz     1b
    jmp     done

unknown_port:
    movw    $PORT, %dx
    inb     %dx, %al
    movb    %al, (%r13)
    inw     %dx, %ax
    movw    %ax, 2(%r13)
    inl     %dx, %eax
    movl    %eax, 4(%r13)
    leaq    8(%r13), %rdi
    movl    $8, %ecx
    rep insb
    outb    %al, %dx
    jmp     done

unknown_memory:
    movl    $NOWHERE, %ebx
    movq    (%rbx), %rax
    movq    %rax, (%r13)
    movq    %rax, (%rbx)
    jmp     done

blind:
    movq    %r12, %rsi
    movw    $COM1, %dx
    movl    $4096, %ecx
    rep outsb
    jmp     done

place_ap:
    leaq    ap(%rip), %rsi
    movl    $AP_PAGE, %edi
    movl    $ap_end - ap, %ecx
    rep movsb
    ret

start_far:
    call    place_ap
    call    wake_far
    jmp     done

wake_far:
    movl    $IA32_APIC_BASE, %ecx
    rdmsr
    orl     $0xc00, %eax            # x2APIC mode
    wrmsr
    movl    $X2APIC_ICR, %ecx
    movl    $FAR_ID, %edx
    movl    $0x4500, %eax           # INIT
    wrmsr
    movl    $0x4600 + AP_PAGE / 4096, %eax
    wrmsr
    ret

interrupt_far:
    leaq    far(%rip), %rsi
    movl    $AP_PAGE, %edi
    movl    $far_end - far, %ecx
    rep movsb
    call    wake_far
1:  cmpl    $0, FAR_COUNTER         # it is ready
    je      1b
    movl    $IO_APIC, %ebx
    movl    $BELL_ENTRY + 1, (%rbx)
    movl    $(FAR_ID & 0xff) << 24 | (FAR_ID >> 8) << 17, 16(%rbx)
    movl    $BELL_ENTRY, (%rbx)
    movl    $BELL_VECTOR, 16(%rbx)
    movw    $COM2 + 4, %dx          # OUT2
    movb    $8, %al
    outb    %al, %dx
    movw    $COM2 + 1, %dx          # when a byte is there
    movb    $1, %al
    outb    %al, %dx
    jmp     done

start_aps:
    call    place_ap
    movl    $APIC, %ebx
    movl    $0xc4500, ICR(%rbx)     # INIT to all but self
    movl    $0xc4600 + AP_PAGE / 4096, ICR(%rbx)
    jmp     done

keep_time:
    movl    $MSR_KVM_SYSTEM_TIME_NEW, %ecx
    movl    $KVM_CLOCK + 1, %eax    # on
    xorl    %edx, %edx
    wrmsr
    jmp     done

await:
    movl    $IDT + BELL_VECTOR * 16, %edi
    leaq    rung(%rip), %rax
    movw    %ax, (%rdi)
    movw    $0x10, 2(%rdi)
    shrl    $16, %eax
    movw    $0x8e00, 4(%rdi)        # interrupt gate
    movw    %ax, 6(%rdi)
    movq    $0, 8(%rdi)
    lidt    idt(%rip)
    movl    $APIC, %ebx
    movl    $0x1ff, SPURIOUS(%rbx)  # on
    movl    $0x700, LINT0(%rbx)     # what the 8259 says
    movb    $0x11, %al              # 8259: begin, vectors from 0x20, slave at 2, 8086; IRQ 3 alone
    outb    %al, $0x20
    movb    $0x20, %al
    outb    %al, $0x21
    movb    $4, %al
    outb    %al, $0x21
    movb    $1, %al
    outb    %al, $0x21
    movb    $0xf7, %al
    outb    %al, $0x21
    movw    $COM2 + 4, %dx          # OUT2 lets a PC's serial port interrupt
    movb    $8, %al
    outb    %al, %dx
    movb    $'k', %al
    call    ring
    movw    $COM2 + 1, %dx          # when a byte is there
    movb    $1, %al
    outb    %al, %dx
    movq    INTERRUPTS, %rcx
1:  sti
    hlt
    cli
    cmpq    INTERRUPTS, %rcx
    je      1b
    jmp     next

rung:
    lock incq INTERRUPTS
    pushq   %rax
    pushq   %rdx
    movw    $COM2 + 1, %dx          # no more
    xorl    %eax, %eax
    outb    %al, %dx
    movb    $0x20, %al              # end of interrupt
    outb    %al, $0x20
    popq    %rdx
    popq    %rax
    iretq

halt:
    cli
1:  hlt
    jmp     1b

power_off:
    movw    $0x604, %dx
    movw    $0x2000, %ax            # SLP_EN
    outw    %ax, %dx
    jmp     halt

reset:
    movb    $0xfe, %al
    outb    %al, $0x64
    hlt

fault:
    lidt    no_idt(%rip)
    int3

done:
    movb    $'k', %al
    call    ring
    jmp     next

put:                                # al to the console
    movw    $COM1, %dx
    jmp     send
ring:                               # al to the doorbell
    movw    $COM2, %dx
send:
    movb    %al, %bl
    addw    $5, %dx
1:  inb     %dx, %al
    testb   $0x20, %al              # transmitter empty
    jz      1b
    subw    $5, %dx
    movb    %bl, %al
    outb    %al, %dx
    ret

no_idt:
    .zero   10
idt:
    .word   0xfff
    .quad   IDT

    .code16
ap:                                 # in real mode, at AP_PAGE
    xorw    %ax, %ax
    movw    %ax, %ds
    movl    $1, %eax
    cpuid
    shrl    $24, %ebx               # APIC id
1:  lock incl AP_COUNTERS(, %ebx, 8)
    jmp     1b
ap_end:

far:                                # in real mode, at AP_PAGE
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %ss
    movw    $AP_PAGE + 0xff0, %sp
    movw    $AP_PAGE + far_rung - far, BELL_VECTOR * 4
    movw    %ax, BELL_VECTOR * 4 + 2
    movl    $IA32_APIC_BASE, %ecx
    rdmsr
    orl     $0xc00, %eax            # x2APIC mode
    wrmsr
    movl    $X2APIC_SPURIOUS, %ecx
    movl    $0x1ff, %eax            # on
    xorl    %edx, %edx
    wrmsr
    lock incl FAR_COUNTER
1:  sti
    hlt
    jmp     1b
far_rung:
    lock incl INTERRUPTS
    pushal
    movl    $X2APIC_EOI, %ecx
    xorl    %eax, %eax
    xorl    %edx, %edx
    wrmsr
    popal
    iretw
far_end:
