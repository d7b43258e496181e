
# ---- what runs in the guest: scenario (both sides check it), the work types, the agent ----

libraries += scenario work agent
programs += ktstr-guest

scenario.sources := guest/scenario/validate.cc guest/scenario/cpusets.cc guest/scenario/work_types.cc
scenario.needs := topology protocol
scenario.tests := guest/scenario/validate_test.cc
scenario.test_needs := json
scenario.fuzz := guest/scenario/scenario_fuzz.cc

work.sources := guest/work/group.cc guest/work/telemetry.cc guest/work/wait.cc guest/work/spin.cc \
  guest/work/bursty.cc guest/work/futex.cc guest/work/pipe.cc
work.needs := scenario protocol
work.tests := guest/work/group_test.cc guest/work/histogram_test.cc

# ---- what a guest is made of, on the host's side: its shape, its RAM, its initramfs ----

libraries += topology boot

topology.sources := guest/topology.cc
topology.needs := protocol
topology.tests := guest/topology_test.cc

boot.sources := guest/boot/machine.cc guest/boot/memory_plan.cc guest/boot/kernel_loader.cc \
  guest/boot/boot_params.cc guest/boot/page_tables.cc guest/boot/acpi.cc guest/boot/acpi_numa.cc guest/boot/tsc.cc
boot.needs := topology cache protocol
