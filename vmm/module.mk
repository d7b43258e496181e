# vmm.core is what both VMMs link: no QEMU in it.
libraries += vmmcore vmm vmmtest
vmmcore.sources := vmm/machine_check.cc vmm/kvm_probe.cc
vmmcore.objects := $(BUILD)/obj/vmm/flat/probe_image.o
vmmcore.needs := sandbox protocol
vmmcore.tests := vmm/machine_check_test.cc vmm/kvm_probe_test.cc

vmm.sources := vmm/firmware.cc vmm/qemu_command.cc vmm/qemu_probe.cc vmm/qmp.cc vmm/warden.cc vmm/guest_memory.cc \
  vmm/engine.cc vmm/tcg_vmm.cc vmm/machine_service.cc vmm/vmm_service.cc vmm/tcg_sandbox.cc
vmm.objects := $(BUILD)/obj/vmm/stub/rom.o
vmm.needs := vmmcore rpc sandbox log
vmm.packages := capnp-json
vmm.tests := vmm/firmware_test.cc vmm/qemu_command_test.cc vmm/machine_service_test.cc \
  vmm/lifecycle_test.cc vmm/tcg_sandbox_test.cc
vmm.test_needs := vmmtest

vmmtest.sources := vmm/test_machine.cc vmm/test_client.cc
vmmtest.objects := $(BUILD)/obj/vmm/flat/guest_image.o
vmmtest.needs := rpc
vmm.fuzz := vmm/machine_check_fuzz.cc

programs += ktstr-vmm-tcg ktstr-vmm
ktstr-vmm-tcg.sources := vmm/tcg_main.cc
ktstr-vmm-tcg.needs := vmm

# What holds /dev/kvm; for now it only says what /dev/kvm is good for.
ktstr-vmm.sources := vmm/probe_main.cc
ktstr-vmm.needs := vmmcore log

$(BUILD)/obj/vmm/stub/rom.bin: vmm/stub/reset.S vmm/stub/reset.ld
	@mkdir -p $(@D)
	$(CC) -c -o $(@D)/reset.o vmm/stub/reset.S
	ld -T vmm/stub/reset.ld -o $(@D)/reset.elf $(@D)/reset.o
	objcopy -O binary $(@D)/reset.elf $@

$(BUILD)/obj/vmm/stub/rom.o: vmm/stub/rom.S $(BUILD)/obj/vmm/stub/rom.bin
	$(CC) -c -Wa,-I$(@D) -o $@ $<

# Flat guests: linked at a fixed address, made flat, embedded.
$(BUILD)/obj/vmm/flat/%.bin: vmm/flat/%.S
	@mkdir -p $(@D)
	$(CC) -c -o $(@D)/$*.o $<
	ld -Ttext=$(flat.$*) -o $(@D)/$*.elf $(@D)/$*.o
	objcopy -O binary -j .text $(@D)/$*.elf $@
flat.guest := 0x100000
flat.probe := 0x1000

$(BUILD)/obj/vmm/flat/%_image.o: vmm/flat/%_image.S $(BUILD)/obj/vmm/flat/%.bin
	$(CC) -c -Wa,-I$(@D) -o $@ $<
.SECONDARY: $(BUILD)/obj/vmm/flat/guest.bin $(BUILD)/obj/vmm/flat/probe.bin
