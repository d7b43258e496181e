# Embeds the guest that guest.S makes.
    .section .rodata
    .globl  ktstr_flat_guest, ktstr_flat_guest_end
ktstr_flat_guest:
    .incbin "guest.bin"
ktstr_flat_guest_end:

    .section .note.GNU-stack, "", @progbits
