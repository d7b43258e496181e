libraries += judge
judge.sources := orchestrator/assertions.cc orchestrator/stats.cc orchestrator/monitor_summary.cc \
  orchestrator/console.cc orchestrator/findings.cc orchestrator/judge.cc orchestrator/judge_guest.cc \
  orchestrator/judge_workers.cc orchestrator/judge_monitor.cc orchestrator/record_store.cc orchestrator/render.cc \
  orchestrator/render_comparison.cc
judge.needs := scenario protocol
judge.tests := $(judge.sources:.cc=_test.cc)
judge.fuzz := orchestrator/console_fuzz.cc

libraries += orchestrator
orchestrator.sources := orchestrator/completions.cc orchestrator/demo.cc orchestrator/guest_link.cc orchestrator/host.cc \
  orchestrator/machine_link.cc orchestrator/monitor_link.cc orchestrator/options.cc orchestrator/phases.cc \
  orchestrator/resolve.cc orchestrator/run.cc orchestrator/session.cc
orchestrator.needs := judge boot image scenario topology cache sandbox rpc json log protocol
orchestrator.tests := orchestrator/options_test.cc

programs += ktstr-orchestrator ktstr
ktstr-orchestrator.sources := orchestrator/main.cc
ktstr-orchestrator.needs := orchestrator
ktstr.sources := orchestrator/front_end.cc
ktstr.needs := orchestrator
