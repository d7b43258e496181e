# monitor          the plain core: guest memory, finding the kernel, symbols, types, sampling (no RPC)
# monitor_service  the shell around it, as a library so that tests can run it
# dumptext         a dump for people, also for the orchestrator
# monitor_testing  a kernel in RAM, made for tests and fuzz targets
libraries += monitor monitor_service dumptext monitor_testing
dumptext.sources := monitor/dump_text.cc monitor/text_table.cc
dumptext.needs := protocol
dumptext.tests := monitor/dump_text_test.cc

monitor.sources := monitor/analysis.cc monitor/arena_view.cc monitor/attach.cc monitor/bpf_objects.cc monitor/bpf_values.cc monitor/cgroup_path.cc \
  monitor/btf_types.cc monitor/dump.cc monitor/dump_cgroups.cc monitor/dump_cpus.cc monitor/dump_dsqs.cc monitor/dump_hierarchy.cc monitor/dump_maps.cc monitor/dump_names.cc monitor/dump_scheduler.cc monitor/dump_tasks.cc monitor/error_watch.cc monitor/finder.cc monitor/guest_list.cc \
  monitor/guest_mem.cc monitor/guest_rbtree.cc monitor/guest_rhashtable.cc monitor/guest_xarray.cc monitor/inspect.cc \
  monitor/kallsyms.cc monitor/kernel.cc monitor/kernel_layout.cc monitor/local_storage.cc \
  monitor/map_write.cc monitor/member_group.cc monitor/page_walk.cc monitor/ram_file.cc monitor/renderer.cc \
  monitor/runqueue_groups.cc monitor/sampler.cc monitor/sched_domains.cc monitor/scx_events.cc monitor/scx_programs.cc \
  monitor/struct_ops.cc monitor/symbol_table.cc monitor/task_list.cc monitor/type_path.cc monitor/value.cc monitor/vmcoreinfo.cc monitor/watchdog.cc \
  monitor/guest_address.cc monitor/watch.cc monitor/watch_expression.cc
monitor.needs := protocol
monitor.packages := libbpf
monitor.tests := monitor/analysis_test.cc monitor/attach_test.cc monitor/bpf_memory_maps_test.cc monitor/bpf_objects_test.cc monitor/btf_types_test.cc monitor/guest_mem_test.cc monitor/guest_walks_test.cc monitor/inspect_test.cc monitor/dump_test.cc \
  monitor/kallsyms_test.cc monitor/kernel_test.cc monitor/local_storage_test.cc monitor/map_write_test.cc monitor/page_walk_test.cc \
  monitor/renderer_test.cc monitor/sampler_test.cc monitor/sampler_groups_test.cc monitor/scx_events_test.cc monitor/scx_programs_test.cc \
  monitor/task_list_test.cc monitor/vmcoreinfo_test.cc monitor/watchdog_test.cc monitor/watch_test.cc
monitor.fuzz := monitor/analysis_fuzz.cc monitor/attach_fuzz.cc monitor/bpf_objects_fuzz.cc monitor/btf_types_fuzz.cc monitor/dump_fuzz.cc monitor/guest_walks_fuzz.cc \
  monitor/kallsyms_fuzz.cc monitor/renderer_fuzz.cc monitor/sample_groups_fuzz.cc monitor/vmcoreinfo_fuzz.cc monitor/watch_fuzz.cc
monitor.test_needs := monitor_testing

monitor_testing.sources := monitor/test_kernel.cc monitor/test_kernel_types.cc
monitor_testing.needs := monitor protocol

monitor_service.sources := monitor/core_output.cc monitor/freeze.cc monitor/freeze_hold.cc monitor/map_write_gate.cc \
  monitor/pending_writes.cc monitor/record_writer.cc monitor/sample_text.cc monitor/service.cc monitor/service_core.cc monitor/service_dumps.cc monitor/asks.cc \
  monitor/service_tools.cc monitor/vcpu_times.cc monitor/watchdog_gate.cc
monitor_service.needs := monitor dumptext json log sandbox rpc protocol
monitor_service.tests := monitor/gates_test.cc monitor/hostile_test.cc monitor/sample_text_test.cc monitor/service_core_test.cc monitor/service_dump_test.cc monitor/service_test.cc
monitor_service.test_needs := monitor_testing

# ELF vmcores, what of a kernel can be seen, arm64's page tables
monitor.sources += monitor/page_walk_arm64.cc monitor/support.cc monitor/vmcore.cc
monitor.tests += monitor/page_walk_arm64_test.cc monitor/struct_ops_test.cc monitor/support_test.cc monitor/vmcore_test.cc
monitor.fuzz += monitor/vmcore_fuzz.cc

programs += ktstr-monitor
ktstr-monitor.sources := monitor/main.cc
ktstr-monitor.needs := monitor_service

# What a look into a guest costs.
benches += monitor-bench
monitor-bench.sources := monitor/bench/monitor_bench.cc
monitor-bench.needs := monitor protocol
