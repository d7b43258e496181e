# vmm.core is what both VMMs link: no QEMU in it.
libraries += vmmcore vmm
vmmcore.sources := vmm/machine_check.cc
vmmcore.needs := protocol
vmmcore.tests := vmm/machine_check_test.cc

vmm.sources := vmm/firmware.cc vmm/qemu_command.cc vmm/qemu_probe.cc vmm/qmp.cc vmm/warden.cc vmm/guest_memory.cc \
  vmm/engine.cc vmm/tcg_vmm.cc vmm/machine_service.cc vmm/vmm_service.cc vmm/tcg_sandbox.cc
vmm.objects := $(BUILD)/obj/vmm/stub/rom.o
vmm.needs := vmmcore rpc sandbox log
vmm.packages := capnp-json
vmm.tests := vmm/firmware_test.cc vmm/qemu_command_test.cc
vmm.fuzz := vmm/machine_check_fuzz.cc

programs += ktstr-vmm-tcg
ktstr-vmm-tcg.sources := vmm/tcg_main.cc
ktstr-vmm-tcg.needs := vmm

$(BUILD)/obj/vmm/stub/rom.bin: vmm/stub/reset.S vmm/stub/reset.ld
	@mkdir -p $(@D)
	$(CC) -c -o $(@D)/reset.o vmm/stub/reset.S
	ld -T vmm/stub/reset.ld -o $(@D)/reset.elf $(@D)/reset.o
	objcopy -O binary $(@D)/reset.elf $@

$(BUILD)/obj/vmm/stub/rom.o: vmm/stub/rom.S $(BUILD)/obj/vmm/stub/rom.bin
	$(CC) -c -Wa,-I$(@D) -o $@ $<
