# Embeds the image that reset.S makes.
    .section .rodata
    .balign 4096
    .globl  ktstr_rom, ktstr_rom_end
ktstr_rom:
    .incbin "rom.bin"
ktstr_rom_end:

    .section .note.GNU-stack, "", @progbits
