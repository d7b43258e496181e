# Embeds what probe.S makes.
    .section .rodata
    .globl  ktstr_probe, ktstr_probe_end
ktstr_probe:
    .incbin "probe.bin"
ktstr_probe_end:

    .section .note.GNU-stack, "", @progbits
