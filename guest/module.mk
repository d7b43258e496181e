
# ---- what runs in the guest: scenario (both sides check it), the work types, the agent ----

libraries += scenario catalog work agent
programs += ktstr-guest

scenario.sources := guest/scenario/validate.cc guest/scenario/walk.cc guest/scenario/walk_ops.cc \
  guest/scenario/cgroup_model.cc guest/scenario/checks.cc guest/scenario/cpusets.cc guest/scenario/affinity.cc \
  guest/scenario/operations.cc guest/scenario/programs.cc guest/scenario/work_types.cc guest/scenario/work_rules.cc guest/scenario/snapshot_times.cc
scenario.needs := topology protocol
scenario.tests := guest/scenario/validate_test.cc guest/scenario/walk_test.cc guest/scenario/affinity_test.cc \
  guest/scenario/work_types_test.cc guest/scenario/snapshot_times_test.cc
scenario.test_needs := json
scenario.fuzz := guest/scenario/scenario_fuzz.cc

catalog.sources := guest/scenario/build.cc guest/scenario/build_work.cc guest/scenario/catalog.cc $(wildcard guest/scenario/catalog/*.cc)
catalog.needs := scenario topology protocol
catalog.tests := guest/scenario/catalog_test.cc guest/scenario/build_test.cc
catalog.test_needs := json

work.sources := guest/work/group.cc guest/work/crew.cc guest/work/seat.cc guest/work/stamps.cc guest/work/telemetry.cc guest/work/schedstat.cc guest/work/clock.cc guest/work/wait.cc \
  guest/work/loops.cc guest/work/spin.cc guest/work/alu.cc guest/work/sleep.cc guest/work/disk.cc guest/work/pairs.cc \
  guest/work/wakeups.cc guest/work/memory.cc guest/work/churn.cc guest/work/locks.cc guest/work/custom.cc \
  guest/work/worker.cc guest/work/setup_notes.cc guest/work/handover.cc
work.needs := scenario topology protocol
work.tests := guest/work/group_test.cc guest/work/types_test.cc guest/work/histogram_test.cc guest/work/clock_test.cc guest/work/telemetry_test.cc
work.test_needs := json

# What the telemetry costs: the same loops with it, and with one that counts its calls.
benches += work-bench work-bench-calls
work-bench.sources := guest/work/bench/work_bench.cc
work-bench.needs := work json
work-bench-calls.sources := guest/work/bench/work_bench.cc guest/work/bench/counting.cc
work-bench-calls.needs := work json

agent.sources := guest/agent/agent.cc guest/agent/runner.cc guest/agent/operations.cc guest/agent/stage.cc guest/agent/progress.cc \
  guest/agent/supervisor.cc guest/agent/workers.cc guest/agent/worker_setup.cc guest/agent/payloads.cc guest/agent/program.cc \
  guest/agent/report.cc guest/agent/scheduler.cc guest/agent/scheduler_log.cc guest/agent/scheduler_stats.cc guest/agent/cgroups.cc \
  guest/agent/channel.cc guest/agent/failure.cc guest/agent/system.cc guest/agent/facts.cc guest/agent/inject.cc \
  guest/agent/settings.cc guest/agent/worker_process.cc
agent.needs := work scenario topology protocol
agent.tests := guest/agent/agent_test.cc guest/agent/progress_test.cc guest/agent/settings_test.cc guest/agent/worker_setup_test.cc \
  guest/agent/system_test.cc guest/agent/scheduler_log_test.cc guest/agent/scheduler_stats_test.cc
agent.test_needs := json

ktstr-guest.sources := guest/agent/main.cc
ktstr-guest.needs := agent
ktstr-guest.libs := -s
ktstr-guest.static := -static

# ---- what a guest is made of, on the host's side: its shape, its RAM, its initramfs ----

libraries += topology boot image

topology.sources := guest/topology.cc
topology.needs := protocol
topology.tests := guest/topology_test.cc

boot.sources := guest/boot/machine.cc guest/boot/memory_plan.cc guest/boot/kernel_loader.cc \
  guest/boot/boot_params.cc guest/boot/page_tables.cc guest/boot/acpi.cc guest/boot/acpi_numa.cc guest/boot/cpuid.cc guest/boot/copy_helper.cc \
  guest/boot/tsc.cc
boot.needs := topology cache protocol
boot.tests := guest/boot/acpi_test.cc guest/boot/memory_plan_test.cc guest/boot/boot_params_test.cc \
  guest/boot/cpuid_test.cc guest/boot/machine_test.cc

image.sources := guest/image/initramfs.cc guest/image/image_plan.cc guest/image/base_image.cc guest/image/cpio.cc \
  guest/image/lz4_legacy.cc guest/image/elf_needs.cc guest/image/elf_closure.cc guest/image/library_paths.cc
image.needs := cache protocol
image.packages := libelf liblz4
image.tests := guest/image/cpio_test.cc guest/image/elf_closure_test.cc guest/image/initramfs_test.cc
image.fuzz := guest/image/elf_closure_fuzz.cc
