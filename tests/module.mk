# System tests: whole runs through the built executables. One binary each, in build/test/system.
system_tests := usage run failure kvm

libraries += harness
harness.sources := tests/system/harness.cc
harness.needs := topology json protocol

define system_test_rules
system_$(1).needs := harness
system_$(1).packages := gtest gtest_main
$(BUILD)/test/system/$(1)_test: $(BUILD)/obj/tests/system/$(1)_test.o $$(call archives_of,system_$(1))
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,system_$(1))
tests: $(BUILD)/test/system/$(1)_test
endef
