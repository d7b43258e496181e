# The guest of vmm/kvm/probe.h, loaded at 0x1000 and entered at 0x1010 in 64-bit mode with identity-mapped memory: does
# what a kernel does at its start, counting its steps at STEP; out to 0x11 when done; then counts RCX down to 0 and outs
# to 0x12.

    .set    STEP, 0x800
    .set    STACK, 0x1000
    .set    LSTAR, 0xc0000082
    .set    IDT, 0x8000

    .text
    .globl  _start
_start:
    .org    0x10
    .code64
    movl    $STACK, %esp
    xorl    %ebx, %ebx

    lgdt    gdt_pointer(%rip)           # 1: own GDT, reloaded segments
    pushq   $0x10
    leaq    1f(%rip), %rax
    pushq   %rax
    lretq
1:  movl    $0x18, %eax
    movl    %eax, %ds
    movl    %eax, %ss
    incl    STEP

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
    incl    STEP

    movq    %cr3, %rax                  # 3: page tables, TLB, CR4
    movq    %rax, %cr3
    movq    %cr4, %rax
    orq     $0x80, %rax                 # PGE
    movq    %rax, %cr4
    invlpg  0x100000
    incl    STEP

    xorl    %eax, %eax                  # 4: CPUID says something
    cpuid
    testl   %eax, %eax
    jz      fail
    incl    STEP

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
    incl    STEP

    swapgs                              # 6: per-CPU base, interrupt flag
    pushfq
    popq    %rax
    sti
    cli
    rdtsc
    incl    STEP

    outb    %al, $0x11
    movl    COUNT, %ecx
2:  decl    %ecx
    jnz     2b
    outb    %al, $0x12
fail:
    hlt

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
    .quad   gdt
idt_pointer:
    .word   0xfff
    .quad   IDT

    .set    COUNT, 0x808
