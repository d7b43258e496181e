# System tests: whole runs through the built executables. One binary each, in build/test/system; what needs a /dev/kvm
# that boots Linux in build/test/kvm (tests/tools/kvm-tests.sh).
system_tests := system/usage system/run system/ops system/work system/catalog system/timeline system/assertions system/topology \
  system/freeze system/standing system/failure system/fault system/library system/custom system/monitor system/map_write kvm/kvm

libraries += harness
harness.sources := tests/system/bpftool_expectations.cc tests/system/core_expectations.cc tests/system/harness.cc tests/system/source_expectations.cc tests/system/topology_expectations.cc \
  tests/system/frozen_linux.cc tests/system/guest_shell.cc tests/system/statistics_expectations.cc tests/system/watched.cc
harness.packages := gtest nlohmann_json
harness.needs := library orchestrator monitor_service boot image topology json protocol

define system_test_rules
$(1).needs := harness
$(1).packages := gtest gmock gtest_main
$(BUILD)/test/$(1)_test: $(BUILD)/obj/tests/$(1)_test.o $$(call archives_of,$(1))
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,$(1))
tests: $(BUILD)/test/$(1)_test
endef
