# ktstr: build, test, install. `make help` lists the targets; each folder's module.mk lists its sources.
#
# In a module.mk, NAME is a library or a program:
#   NAME.sources   files that make it            NAME.tests   unit tests beside them (one binary build/test/NAME_test)
#   NAME.needs     libraries of ours it uses     NAME.fuzz    fuzz targets beside them (one binary each)
#   NAME.packages  pkg-config packages           NAME.libs    linker flags without a .pc file
#   NAME.static    1: link the program statically
# and it is announced by  libraries += NAME  or  programs += NAME.

SHELL := /bin/bash
.DEFAULT_GOAL := all
comma := ,

CXX ?= g++
ifeq ($(origin CXX),default)
CXX := g++
endif
SANITIZE ?=
OPTIMIZE ?= -O2 -g1
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build$(if $(SANITIZE),/sanitize-$(subst $(comma),-,$(SANITIZE)))
FUZZ_SECONDS ?= 20

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
# Instrumented, g++ 12 takes parts of KJ's Maybe for uninitialized.
SANITIZER_WARNINGS := $(if $(SANITIZE),$(if $(findstring clang,$(CXX)),,-Wno-maybe-uninitialized))
# Not vptr: it probes memory through a pipe, which no sandbox of ours allows.
SANITIZERS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize=vptr -fno-omit-frame-pointer \
  -fno-sanitize-recover=undefined $(if $(findstring address,$(SANITIZE)),-DKTSTR_ADDRESS_SANITIZER))
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
CXXFLAGS_ALL := -std=c++20 $(OPTIMIZE) $(WARNINGS) $(SANITIZER_WARNINGS) $(SANITIZERS) -I. -I$(BUILD)/gen -fPIC $(CXXFLAGS)
LDFLAGS_ALL := $(SANITIZERS) $(LDFLAGS)

# Builds as many at once as there are CPUs, unless -j was given.
submake = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# One short line per command; V=1 shows the commands.
quiet = $(if $(V),,@printf '  %-6s %s\n' $(1) '$@';)

libraries :=
programs :=
benches :=
schemas :=
firmware :=
include $(wildcard */module.mk)

# ---- what is missing on this machine ---------------------------------------------------------------------------

.PHONY: all deps deps-if-missing all-deps-if-missing demo check check-unit check-system check-kvm check-scenarios check-all-kernels bench \
        bench-kvm fuzz fuzzers install install-built format lint compile_commands.json clean help tests benches

all: deps-if-missing
	+@$(submake) programs

deps: ## install all that any target needs (Debian 12 and 13; root or sudo)
	@tests/tools/deps.sh install all

deps-if-missing:
	@tests/tools/deps.sh check || tests/tools/deps.sh install

all-deps-if-missing:
	@tests/tools/deps.sh check all || tests/tools/deps.sh install all

# ---- schemas ---------------------------------------------------------------------------------------------------

GENERATED := $(schemas:%=$(BUILD)/gen/%.h)

$(BUILD)/gen/%.capnp.h $(BUILD)/gen/%.capnp.c++ &: %.capnp
	@mkdir -p $(@D)
	$(call quiet,CAPNP)capnp compile -I. -oc++:$(BUILD)/gen $<

.SECONDARY: $(GENERATED) $(GENERATED:.h=.c++)

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c++ | $(GENERATED)
	@mkdir -p $(@D)
	$(call quiet,CXX)$(CXX) $(filter-out -Wall -Wextra -Wshadow -Wconversion -Werror,$(CXXFLAGS_ALL)) -MMD -MP -c $< -o $@

# version.h changes only when the version does, so that no commit rebuilds more than what prints it.
.PHONY: always
$(BUILD)/gen/version.h: always
	@mkdir -p $(@D)
	@echo '#define KTSTR_VERSION "$(VERSION)"' | cmp -s - $@ || echo '#define KTSTR_VERSION "$(VERSION)"' > $@

# ---- objects ---------------------------------------------------------------------------------------------------

# Reading the command line is much to compile and little to run.
unoptimised = $(if $(filter %/main.o,$@),-O0)

$(BUILD)/obj/%.o: %.cc | $(GENERATED) $(BUILD)/gen/version.h
	@mkdir -p $(@D)
	$(call quiet,CXX)$(CXX) $(CXXFLAGS_ALL) $(unoptimised) -MMD -MP -c $< -o $@

# Tests are a third of all. What they test is optimised: they themselves need not be. And half of their time would go into
# reading the same headers (clang reads them again each time, and so sees a test that includes too little).
precompiled := $(if $(findstring clang,$(CXX)),,$(BUILD)/obj/tests/precompiled.h)

$(BUILD)/obj/tests/precompiled.h.gch: tests/precompiled.h | $(GENERATED)
	@mkdir -p $(@D)
	$(call quiet,CXX)$(CXX) $(CXXFLAGS_ALL) -O0 -MMD -MP -MF $(@:.gch=.d) -MT $@ -c $< -o $@

test_object = $(call quiet,CXX)$(CXX) $(CXXFLAGS_ALL) -O0 $(precompiled:%=-Winvalid-pch -include %) -MMD -MP -c $< -o $@

$(BUILD)/obj/%_test.o: %_test.cc $(precompiled:=.gch) | $(GENERATED) $(BUILD)/gen/version.h
	@mkdir -p $(@D)
	$(test_object)

$(BUILD)/obj/tests/%.o: tests/%.cc $(precompiled:=.gch) | $(GENERATED) $(BUILD)/gen/version.h
	@mkdir -p $(@D)
	$(test_object)

# ---- libraries and programs --------------------------------------------------------------------------------------

# All libraries that NAME needs, itself first, each before those it needs itself.
closure = $(1) $(foreach n,$($(1).needs),$(call closure,$(n)))
# Keeps the last occurrence of each word, so that dependencies come after dependents on the link line.
last = $(if $(1),$(call last,$(filter-out $(lastword $(1)),$(1))) $(lastword $(1)))
needed = $(call last,$(strip $(foreach n,$($(1).needs),$(call closure,$(n)))))
packages_of = $(sort $($(1).packages) $(foreach n,$(call needed,$(1)),$($(n).packages)))
libs_of = $($(1).libs) $(foreach n,$(call needed,$(1)),$($(n).libs))
archives_of = $(foreach n,$(call needed,$(1)),$(BUILD)/lib/lib$(n).a)
link = $(CXX) $(LDFLAGS_ALL) $(2) -o $@ $(filter %.o,$^) -Wl,--start-group $(call archives_of,$(1)) -Wl,--end-group \
       $(call libs_of,$(1)) $(if $(call packages_of,$(1)),$$(pkg-config $(3) --libs $(call packages_of,$(1)))) -lpthread

define library_rules
$(BUILD)/lib/lib$(1).a: $($(1).sources:%.cc=$(BUILD)/obj/%.o) $($(1).objects) $($(1).schemas:%.capnp=$(BUILD)/obj/gen/%.capnp.o)
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call quiet,AR)ar rcs $$@ $$^
endef

# Tests and fuzz targets of library $(1) link it like a program that needs it.
define test_rules
$(1)_test.needs := $(1) $($(1).test_needs)
$(1)_test.packages := gtest gmock gtest_main
$(BUILD)/test/$(1)_test: $($(1).tests:%.cc=$(BUILD)/obj/%.o) $$(call archives_of,$(1)_test)
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,$(1)_test)
tests: $(BUILD)/test/$(1)_test
endef

define fuzz_rules
$(2)_fuzzer.needs := $(1) $($(1).test_needs)
$(BUILD)/fuzzer/$(2): $(3:%.cc=$(BUILD)/obj/%.o) $$(call archives_of,$(2)_fuzzer)
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,$(2)_fuzzer,-fsanitize=fuzzer)
fuzzers: $(BUILD)/fuzzer/$(2)
endef

# NAME.static := -static or -static-pie. Sanitizers have no static runtime.
static = $(if $(SANITIZE),,$($(1).static))

define program_rules
$(BUILD)/bin/$(1): $($(1).sources:%.cc=$(BUILD)/obj/%.o) $(call archives_of,$(1))
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,$(1),$(call static,$(1)),$(if $(call static,$(1)),--static))
programs: $(BUILD)/bin/$(1)
endef

# What measures: never installed, built by `make bench` alone.
define bench_rules
$(BUILD)/bench/$(1): $($(1).sources:%.cc=$(BUILD)/obj/%.o) $(call archives_of,$(1))
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(call link,$(1))
benches: $(BUILD)/bench/$(1)
endef

$(foreach l,$(libraries),$(eval $(call library_rules,$(l))))
$(foreach l,$(libraries),$(if $($(l).tests),$(eval $(call test_rules,$(l)))))
$(foreach l,$(libraries),$(foreach f,$($(l).fuzz),$(eval $(call fuzz_rules,$(l),$(basename $(notdir $(f))),$(f)))))
$(foreach p,$(programs),$(eval $(call program_rules,$(p))))
$(foreach b,$(benches),$(eval $(call bench_rules,$(b))))
$(foreach t,$(system_tests),$(eval $(call system_test_rules,$(t))))

.PHONY: programs
programs: ## all executables, to build/bin/
tests: programs

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- checks ----------------------------------------------------------------------------------------------------

check: deps-if-missing ## unit tests, system tests (boots real kernels), and Linux on KVM
	+@$(submake) tests
	@tests/tools/run-tests.sh $(BUILD) unit system tests/tools/kvm-tests.sh

check-unit: deps-if-missing ## unit tests alone
	+@$(submake) tests
	@tests/tools/run-tests.sh $(BUILD) unit

check-system: deps-if-missing ## system tests alone
	+@$(submake) tests
	@tests/tools/run-tests.sh $(BUILD) system

check-kvm: deps-if-missing ## what needs a /dev/kvm that boots Linux; makes one where there is none (slow)
	+@$(submake) tests
	@KTSTR_NEED_KVM=1 KTSTR_TEST_VCPUS=$${KTSTR_TEST_VCPUS:-512} tests/tools/run-tests.sh $(BUILD) tests/tools/kvm-tests.sh \
	  tests/tools/units-tests.sh

check-scenarios: deps-if-missing ## canned scenarios under each of the kernel tree's schedulers (slow)
	+@$(submake) tests
	@KTSTR_TEST_ALL=1 tests/tools/run-tests.sh $(BUILD) $(BUILD)/test/system/catalog_test

check-all-kernels: deps-if-missing ## the monitor on every kernel, and under each of the kernel tree's schedulers (slow)
	+@$(submake) tests
	@KTSTR_TEST_ALL=1 tests/tools/run-tests.sh $(BUILD) $(BUILD)/test/system/monitor_test

demo: deps-if-missing ## one scenario under EEVDF and real sched_ext schedulers, side by side
	+@$(submake) programs
	@$(BUILD)/bin/ktstr demo

bench: all-deps-if-missing ## the figures of README's table
	+@$(submake) programs benches
	@tests/tools/bench.sh $(BUILD)

bench-kvm: all-deps-if-missing ## Linux on KVM beside QEMU microvm; makes a /dev/kvm where there is none (slow)
	+@$(submake) programs
	@tests/tools/bench-kvm.sh $(BUILD)

fuzz: all-deps-if-missing ## every fuzz target for FUZZ_SECONDS seconds
	+@$(submake) BUILD=build/fuzz CXX=clang++ SANITIZE=address,undefined,fuzzer-no-link fuzzers
	@tests/tools/run-fuzzers.sh build/fuzz/fuzzer $(FUZZ_SECONDS)

# ---- the rest --------------------------------------------------------------------------------------------------

install: all ## install to DESTDIR PREFIX
	+@$(submake) $(BUILD)/lib/libktstr.a
	+@$(submake) install-built

# What an author's project includes: <ktstr/ktstr.h>, and below include/ktstr what that includes.
HEADERS = guest/scenario/build.h guest/scenario/build_work.h guest/scenario/catalog.h guest/topology.h guest/work/worker.h protocol/error.h $(wildcard orchestrator/library/*.h)

install-built:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/ktstr/scenarios $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(programs:%=$(BUILD)/bin/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 tests/scenarios/*.json $(DESTDIR)$(PREFIX)/share/ktstr/scenarios/
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d
	install -m 644 vmm/systemd/*@.* $(DESTDIR)$(PREFIX)/lib/systemd/system/
	sed -i 's|/usr/local/bin/|$(PREFIX)/bin/|' $(DESTDIR)$(PREFIX)/lib/systemd/system/ktstr-vmm@.service
	install -m 644 vmm/systemd/ktstr.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/ktstr.conf
	install -d $(DESTDIR)$(PREFIX)/include/ktstr $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/lib/cmake/ktstr
	tar -cf - $(HEADERS) -C $(BUILD)/gen $(patsubst %,%.h,$(schemas)) | tar -xf - -C $(DESTDIR)$(PREFIX)/include/ktstr
	echo '#include "orchestrator/library/ktstr.h"' > $(DESTDIR)$(PREFIX)/include/ktstr/ktstr.h
	install -m 644 $(BUILD)/lib/libktstr.a $(DESTDIR)$(PREFIX)/lib/
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' orchestrator/library/install/ktstr.pc.in \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/ktstr.pc
	install -m 644 orchestrator/library/install/ktstrConfig.cmake $(DESTDIR)$(PREFIX)/lib/cmake/ktstr/
	$(BUILD)/bin/ktstr completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ktstr

SOURCES = $(shell git ls-files '*.cc' '*.h')

format: all-deps-if-missing ## clang-format all sources
	clang-format -i $(SOURCES)

lint: all-deps-if-missing compile_commands.json $(GENERATED) $(BUILD)/gen/version.h ## clang-tidy and format check
	clang-format --dry-run --Werror $(SOURCES)
	printf '%s\n' $(filter %.cc,$(SOURCES)) | xargs -P $$(nproc) -n 8 clang-tidy --quiet -p .

compile_commands.json: ## for editors and clang-tidy
	@tests/tools/compile-commands.sh '$(CXX) $(CXXFLAGS_ALL)' $(filter %.cc,$(SOURCES)) > $@

clean: ## remove build/
	rm -rf build compile_commands.json

help: ## this list
	@grep -hE '^[a-z_.-]+:.*## ' Makefile | sed -E 's/^([a-z_.-]+):.*## /  \1\t/' | expand -t 26
