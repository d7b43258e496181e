libraries += judge
judge.sources := orchestrator/assertions.cc orchestrator/stats.cc orchestrator/cpu_sight.cc orchestrator/starvation.cc \
  orchestrator/monitor_summary.cc orchestrator/monitor_host.cc orchestrator/program_runs.cc orchestrator/schedstat.cc orchestrator/scx_rate.cc \
  orchestrator/console.cc orchestrator/findings.cc orchestrator/judge.cc orchestrator/judge_guest.cc \
  orchestrator/guest_story.cc orchestrator/failure_kinds.cc orchestrator/judge_console.cc orchestrator/judge_scheduler.cc \
  orchestrator/judge_workers.cc orchestrator/judge_worker.cc orchestrator/judge_group.cc orchestrator/judge_pages.cc \
  orchestrator/judge_conditions.cc orchestrator/judge_monitor.cc orchestrator/judge_writes.cc orchestrator/judge_performance.cc orchestrator/judge_cpus.cc \
  orchestrator/judge_relative.cc orchestrator/relative.cc orchestrator/frozen.cc orchestrator/schedulers.cc \
  orchestrator/guest_record.cc orchestrator/record_store.cc orchestrator/snapshot_store.cc orchestrator/render.cc \
  orchestrator/render_comparison.cc orchestrator/render_baseline.cc orchestrator/render_text.cc orchestrator/work_type_list.cc \
  orchestrator/assertion_list.cc \
  orchestrator/guest_clock.cc orchestrator/timeline.cc orchestrator/timeline_changes.cc \
  orchestrator/timeline_figures.cc orchestrator/timeline_samples.cc orchestrator/render_timeline.cc
judge.needs := dumptext scenario topology json rpc protocol
judge.tests := orchestrator/assertions_test.cc orchestrator/stats_test.cc orchestrator/cpu_sight_test.cc orchestrator/starvation_test.cc \
  orchestrator/monitor_summary_test.cc orchestrator/monitor_host_test.cc orchestrator/monitor_rates_test.cc orchestrator/program_runs_test.cc orchestrator/schedstat_test.cc orchestrator/scx_rate_test.cc \
  orchestrator/console_test.cc orchestrator/findings_test.cc orchestrator/judge_guest_test.cc \
  orchestrator/judge_workers_test.cc orchestrator/judge_figures_test.cc orchestrator/judge_relative_test.cc \
  orchestrator/judge_monitor_test.cc orchestrator/judge_writes_test.cc orchestrator/judge_performance_test.cc orchestrator/judge_cpus_test.cc orchestrator/live_judgement_test.cc orchestrator/record_store_test.cc \
  orchestrator/render_test.cc orchestrator/frozen_test.cc orchestrator/work_type_list_test.cc orchestrator/assertion_list_test.cc \
  orchestrator/guest_clock_test.cc orchestrator/timeline_test.cc orchestrator/timeline_limits_test.cc \
  orchestrator/timeline_samples_test.cc orchestrator/render_timeline_test.cc
judge.fuzz := orchestrator/console_fuzz.cc

libraries += orchestrator
orchestrator.sources := orchestrator/completions.cc orchestrator/demo.cc orchestrator/guest_link.cc orchestrator/guest_options.cc orchestrator/helpers.cc orchestrator/host.cc \
  orchestrator/host_plan.cc orchestrator/host_writes.cc orchestrator/huge_memory.cc orchestrator/performance.cc orchestrator/kernel_runs.cc orchestrator/kvm_probe.cc \
  orchestrator/machine_link.cc orchestrator/monitor_link.cc orchestrator/options.cc orchestrator/phases.cc \
  orchestrator/periodic.cc orchestrator/phase_limits.cc orchestrator/programs.cc orchestrator/resolve.cc orchestrator/run.cc \
  orchestrator/scenario_list.cc orchestrator/serve_vmm.cc orchestrator/session.cc orchestrator/snapshot_command.cc orchestrator/snapshots.cc \
  orchestrator/stats_requests.cc orchestrator/support.cc orchestrator/tool.cc orchestrator/watch_requests.cc orchestrator/write_grants.cc
orchestrator.objects := $(BUILD)/obj/orchestrator/probe_guest.o
orchestrator.needs := judge boot image catalog scenario topology cache sandbox rpc json log protocol
orchestrator.tests := orchestrator/options_test.cc orchestrator/programs_test.cc orchestrator/performance_test.cc orchestrator/guest_options_test.cc orchestrator/host_plan_test.cc orchestrator/huge_memory_test.cc \
  orchestrator/guest_link_test.cc orchestrator/periodic_test.cc orchestrator/watch_requests_test.cc orchestrator/host_writes_test.cc orchestrator/sandbox_test.cc orchestrator/snapshots_test.cc orchestrator/kvm_probe_test.cc \
  orchestrator/kernel_runs_test.cc orchestrator/scenario_list_test.cc
orchestrator.test_needs := vmmtest cachetesting

programs += ktstr-orchestrator ktstr
ktstr-orchestrator.sources := orchestrator/main.cc
ktstr-orchestrator.needs := orchestrator
ktstr.sources := orchestrator/front_end.cc
ktstr.needs := orchestrator

# A guest of ours that needs no linker: embedded as it is assembled.
$(BUILD)/obj/orchestrator/probe_guest.o: orchestrator/probe_guest.S
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) -c -o $@ $<

# ---- the library that authors write tests with ----

libraries += library
library.sources := orchestrator/library/declare.cc orchestrator/library/tools.cc orchestrator/library/context.cc orchestrator/library/crash.cc orchestrator/library/phases.cc orchestrator/library/register.cc \
  orchestrator/library/json_tree.cc orchestrator/library/snapshot_field.cc orchestrator/library/snapshot.cc \
  orchestrator/library/series_field.cc orchestrator/library/series.cc
library.needs := catalog work scenario topology json protocol
library.packages := gtest nlohmann_json
library.tests := orchestrator/library/library_test.cc orchestrator/library/context_test.cc orchestrator/library/register_test.cc orchestrator/library/phases_test.cc orchestrator/library/snapshot_test.cc \
  orchestrator/library/series_field_test.cc orchestrator/library/series_test.cc
library.test_needs := cachetesting
library.fuzz := orchestrator/library/json_tree_fuzz.cc

# All that it needs of ours in one archive.
$(BUILD)/lib/libktstr.a: $(foreach l,library catalog work scenario topology json protocol,$(BUILD)/lib/lib$(l).a)
	@rm -f $@
	$(call quiet,AR)printf '%s\n' 'create $@' $(patsubst %,'addlib %',$^) save end | ar -M
tests: $(BUILD)/lib/libktstr.a
