// Tests of Linux schedulers in C++. One declaration is one GoogleTest test: it boots a kernel in a machine of
// the shape it asks for, starts the scheduler, runs a scenario, and fails with the reasons of the verdict.
//
//   #include <ktstr/ktstr.h>
//   using namespace ktstr::say;
//
//   KTSTR_SCHEDULER(simple, {.binary = "scx_simple", .topology = {.llcs = 2}});
//
//   KTSTR_TEST(halves_are_fair, {.scheduler = simple, .durationMs = 1000}) {
//     ctx.run(Scenario("halves", "a spinner on each half")
//                 .step(Step("run")
//                           .cgroup(Cgroup("left").cpuset(part(0, 2)).work(spinWait(1)))
//                           .cgroup(Cgroup("right").cpuset(part(1, 2)).work(spinWait(1)))));
//     EXPECT_GT(ctx.last().iterations({.cgroup = "left"}), ctx.last().iterations({.cgroup = "right"}) / 2);
//   }
//
// Link -lktstr and gtest_main (pkg-config ktstr; CMake: find_package(ktstr), ktstr::ktstr). The program is an
// ordinary GoogleTest program: --gtest_list_tests, --gtest_filter, sharding, gtest_discover_tests. It needs
// ktstr-orchestrator and its companions in PATH, or KTSTR_BIN_DIR.
#pragma once

#include <gtest/gtest.h>

#include "guest/scenario/build.h"
#include "guest/scenario/catalog.h"
#include "guest/work/worker.h"
#include "orchestrator/library/context.h"
#include "orchestrator/library/declare.h"

namespace ktstr {

using ContextFunction = void (*)(Context& ctx);

// For the macros. `name` and `file` live for ever.
Scheduler named(const char* name, Scheduler scheduler);
bool registerTest(const char* name, const char* file, int line, TestSpec spec, ContextFunction body);
bool registerWork(const char* name, const char* file, int line, void (*function)(work::Seat& seat));

}  // namespace ktstr

// KTSTR_SCHEDULER(identifier, {.binary = ...}): fields of ktstr::Scheduler.
#define KTSTR_SCHEDULER(identifier, ...) \
  static const ::ktstr::Scheduler identifier = ::ktstr::named(#identifier, ::ktstr::Scheduler __VA_ARGS__)

// KTSTR_CONFIGURED_SCHEDULER(identifier, "--config {file}", "/etc/layers.json", {.binary = ...}): one whose
// tests give it a configuration each, .scheduler = identifier.with(R"({...})").
#define KTSTR_CONFIGURED_SCHEDULER(identifier, arguments, path, ...) \
  static const ::ktstr::ConfiguredScheduler identifier = {           \
      ::ktstr::named(#identifier, ::ktstr::Scheduler __VA_ARGS__), arguments, path}

// KTSTR_WORK(name) { while (!worker.stopping()) ... worker.iteration(); }: a function for custom(workers,
// "name"), run in the guest by this program; ktstr::Worker& worker (guest/work/worker.h).
#define KTSTR_WORK(name)                                                  \
  static void ktstrWork_##name(::ktstr::Worker& worker);                  \
  static void ktstrSeat_##name(::ktstr::work::Seat& seat) {               \
    ::ktstr::Worker worker(seat);                                         \
    ktstrWork_##name(worker);                                             \
  }                                                                       \
  [[maybe_unused]] static const bool ktstrWorkKnown_##name =              \
      ::ktstr::registerWork(#name, __FILE__, __LINE__, ktstrSeat_##name); \
  static void ktstrWork_##name([[maybe_unused]] ::ktstr::Worker& worker)

// KTSTR_TEST(name, {.scheduler = ...}) { ctx.run(...); }: fields of ktstr::TestSpec; the test is called
// Ktstr.name, with several kernels Ktstr.name/debian_7_3 and so on. What is wrong with the declaration fails
// it.
#define KTSTR_TEST(name, ...)                                                                            \
  static void ktstrBody_##name([[maybe_unused]] ::ktstr::Context& ctx);                                  \
  [[maybe_unused]] static const bool ktstrKnown_##name =                                                 \
      ::ktstr::registerTest(#name, __FILE__, __LINE__, ::ktstr::TestSpec __VA_ARGS__, ktstrBody_##name); \
  static void ktstrBody_##name([[maybe_unused]] ::ktstr::Context& ctx)
