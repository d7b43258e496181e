# vmmcore is what both VMMs link; vmmtcg adds QEMU, vmmkvm adds /dev/kvm.
libraries += vmmcore vmmtcg vmmkvm vmmtest
vmmcore.sources := vmm/machine_check.cc vmm/guest_memory.cc vmm/vmm.cc vmm/service.cc vmm/options.cc vmm/serve.cc
vmmcore.packages := CLI11
vmmcore.needs := rpc sandbox log protocol
vmmcore.tests := vmm/machine_check_test.cc vmm/service_test.cc vmm/flat_guest_test.cc vmm/bad_input_test.cc \
  vmm/serve_test.cc vmm/flood_test.cc
vmmcore.test_needs := vmmtest
vmmcore.fuzz := vmm/serve_fuzz.cc

vmmtcg.sources := vmm/tcg/firmware.cc vmm/tcg/qemu_command.cc vmm/tcg/qemu_probe.cc vmm/tcg/qmp.cc vmm/tcg/warden.cc \
  vmm/tcg/vcpu_clocks.cc vmm/tcg/qemu_engine.cc vmm/tcg/sandbox.cc
vmmtcg.objects := $(BUILD)/obj/vmm/tcg/stub/rom.o
vmmtcg.needs := vmmcore
vmmtcg.packages := capnp-json
vmmtcg.tests := vmm/tcg/firmware_test.cc vmm/tcg/qemu_command_test.cc \
  vmm/tcg/lifecycle_test.cc vmm/tcg/sandbox_test.cc
vmmtcg.test_needs := vmmtest
vmmtcg.fuzz := vmm/machine_check_fuzz.cc

vmmkvm.sources := vmm/kvm/uart.cc vmm/kvm/serial_port.cc vmm/kvm/ports.cc vmm/kvm/io_apic.cc \
  vmm/kvm/kvm.cc vmm/kvm/vcpu_threads.cc vmm/kvm/kvm_engine.cc vmm/kvm/sandbox.cc
vmmkvm.needs := vmmcore
vmmkvm.tests := vmm/kvm/uart_test.cc vmm/kvm/ports_test.cc vmm/kvm/io_apic_test.cc vmm/kvm/sandbox_test.cc \
  vmm/kvm/placement_test.cc vmm/kvm/device_test.cc vmm/kvm/lifecycle_test.cc vmm/kvm/privilege_test.cc vmm/kvm/units_test.cc
vmmkvm.test_needs := vmmtest

vmmtest.sources := vmm/test_machine.cc vmm/test_client.cc vmm/test_users.cc vmm/test_sandbox.cc
vmmtest.objects := $(BUILD)/obj/vmm/flat/guest_image.o
vmmtest.needs := rpc

programs += ktstr-vmm-tcg ktstr-vmm
ktstr-vmm-tcg.sources := vmm/tcg/main.cc
ktstr-vmm-tcg.needs := vmmtcg

# What holds /dev/kvm. Static: it starts in half the time, and takes half the memory. (The linker would
# warn of KJ's host lookups, which need shared libraries: nothing here looks up a host.)
ktstr-vmm.static := -static-pie -Xlinker --no-warnings
ktstr-vmm.sources := vmm/kvm/main.cc
ktstr-vmm.needs := vmmkvm

benches += kvm-bench
kvm-bench.sources := vmm/bench/kvm_bench.cc
kvm-bench.needs := vmmtest vmmtcg

$(BUILD)/obj/vmm/tcg/stub/rom.bin: vmm/tcg/stub/reset.S vmm/tcg/stub/reset.ld
	@mkdir -p $(@D)
	$(CC) -c -o $(@D)/reset.o vmm/tcg/stub/reset.S
	ld -T vmm/tcg/stub/reset.ld -o $(@D)/reset.elf $(@D)/reset.o
	objcopy -O binary $(@D)/reset.elf $@

$(BUILD)/obj/vmm/tcg/stub/rom.o: vmm/tcg/stub/rom.S $(BUILD)/obj/vmm/tcg/stub/rom.bin
	$(CC) -c -Wa,-I$(@D) -o $@ $<

# Flat guests: linked at a fixed address, made flat, embedded.
$(BUILD)/obj/vmm/flat/%.bin: vmm/flat/%.S
	@mkdir -p $(@D)
	$(CC) -c -o $(@D)/$*.o $<
	ld -Ttext=$(flat.$*) -o $(@D)/$*.elf $(@D)/$*.o
	objcopy -O binary -j .text $(@D)/$*.elf $@
flat.guest := 0x100000

$(BUILD)/obj/vmm/flat/%_image.o: vmm/flat/%_image.S $(BUILD)/obj/vmm/flat/%.bin
	$(CC) -c -Wa,-I$(@D) -o $@ $<
.SECONDARY: $(BUILD)/obj/vmm/flat/guest.bin
