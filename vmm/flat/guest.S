# A guest for tests: 64-bit, flat, one vCPU, loaded at 1 MiB with identity-mapped memory. It counts at COUNTER and
# obeys one-byte commands from the doorbell (COM2).
#
#   e B  sends B + 1 to the doorbell             c    writes "hi\n" to the console
#   m    copies 4096 bytes base -> mailbox+4096  w    writes 0xee to the base's first byte, reads it to mailbox+0
#   i    inverts the byte at mailbox+1           l    writes 16 KiB of 'x' to the console
#   r    resets by the keyboard controller       f    triple fault
# Each but r and f answers 'k' on the doorbell when done; e answers its byte alone.

    .set    BASE_GPA, 0x6000        # given by the host
    .set    MAILBOX_GPA, 0x6008     # given by the host
    .set    COUNTER, 0x6010         # goes up all the time
    .set    STARTS, 0x6018          # how often the entry was reached
    .set    BOOT_RSI, 0x6020        # what RSI was at the entry

    .set    COM1, 0x3f8
    .set    COM2, 0x2f8

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
    notb    1(%r13)
    jmp     done

flood:
    movl    $16384, %ecx
1:  movb    $'x', %al
    call    put
    decl    %ecx
    jnz     1b
    jmp     done

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
