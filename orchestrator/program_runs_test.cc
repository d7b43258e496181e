#include "orchestrator/program_runs.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ktstr {
namespace {

struct Seen {
  uint32_t id;
  const char* name;
  uint64_t runs, nanos;
};

void add(ProgramWatch& watch, bool counts, const std::vector<Seen>& programs) {
  capnp::MallocMessageBuilder message;
  auto list = message.initRoot<rpc::Sample>().initProgs(static_cast<unsigned>(programs.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setId(programs[i].id);
    list[i].setName(programs[i].name);
    list[i].setRuns(programs[i].runs);
    list[i].setNanos(programs[i].nanos);
  }
  watch.add(message.getRoot<rpc::Sample>().asReader(), counts);
}

TEST(ProgramWatch, CountsWhatRanWhileItCounts) {
  ProgramWatch watch;
  add(watch, false, {{1, "enqueue", 1000, 9000}});
  add(watch, true, {{1, "enqueue", 1010, 10'000}, {2, "dispatch", 4, 8000}});
  add(watch, true, {});  // not readable
  add(watch, true, {{1, "enqueue", 1020, 11'000}, {2, "dispatch", 8, 16'000}});
  add(watch, false, {{1, "enqueue", 9999, 99'999}, {2, "dispatch", 9, 17'000}});
  const auto runs = watch.runs();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].name, "dispatch") << "the one with the most time first";
  EXPECT_EQ(runs[0].runs, 8u);
  EXPECT_EQ(runs[0].nanos, 16'000u);
  EXPECT_EQ(runs[1].runs, 20u);
  EXPECT_EQ(runs[1].nanos, 2000u);
}

TEST(ProgramWatch, WhatRanBeforeTheFirstSampleIsNotCounted) {
  ProgramWatch watch;
  add(watch, true, {{1, "enqueue", 1000, 9000}});
  EXPECT_TRUE(watch.runs().empty());
}

TEST(ProgramWatch, OneNameOfTwoSchedulers) {
  ProgramWatch watch;
  add(watch, true, {});
  add(watch, true, {{1, "enqueue", 5, 50}});
  add(watch, true, {{7, "enqueue", 3, 30}});
  ASSERT_EQ(watch.runs().size(), 1u);
  EXPECT_EQ(watch.runs()[0].runs, 8u);
}

TEST(ProgramWatch, TheRecordHasTheMean) {
  capnp::MallocMessageBuilder message;
  auto summary = message.initRoot<rpc::MonitorSummary>();
  writeProgramRuns({{"dispatch", 4, 6000, 0}, {"never", 0, 0, 3}}, summary);
  const auto programs = summary.asReader().getPrograms();
  EXPECT_EQ(programs[0].getNanosPerRun(), 1500);
  EXPECT_TRUE(std::isnan(programs[1].getNanosPerRun()));
  EXPECT_EQ(programs[1].getMisses(), 3u);
}

}  // namespace
}  // namespace ktstr
