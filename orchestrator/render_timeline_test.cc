#include "orchestrator/render_timeline.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "orchestrator/render_text.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string phase(const std::string& name, const std::string& cgroup) {
  return R"({"name":")" + name + R"(","scheduler":"simple","startMs":1250,"durationMs":712,"changeMs":3,
    "all":{"iterationsPerSecond":3510,"cpuShare":3.89,"runDelayMs":879},
    "cgroups":[{"cgroup":")" +
         cgroup + R"(","iterationsPerSecond":0,"cpuShare":0,"runDelayMs":0}],
    "samples":7,"stalledSamples":2,"meanImbalanceRatio":1.7,"meanNrRunning":1.21,"fallbackRate":12,
    "changes":["a: throughput -100 %"],"stimuliLeftOut":5,
    "stimuli":[{"kind":"opApplied","detail":"freezeCgroup a","atMs":1250,"tookMs":3,"iterations":12345}]})";
}

std::string render(const std::vector<std::string>& phases, TimelineView view, bool colour = false) {
  std::string json;
  for (const std::string& each : phases) json += (json.empty() ? "" : ",") + each;
  capnp::MallocMessageBuilder message;
  fromJson(R"({"id":"20261123-x","timeline":[)" + json + "]}", message.initRoot<rpc::RunRecord>());
  return renderTimeline(message.getRoot<rpc::RunRecord>().asReader(), view, colour);
}

TEST(RenderTimeline, aPhaseIsARowAndItsCgroupsBelow) {
  const std::string shown =
      render({phase("run", "a"), phase("run: freezeCgroup a", "a")}, TimelineView::brief);
  EXPECT_THAT(
      shown,
      HasSubstr(
          "  +1.25 s  712 ms  run: freezeCgroup a  simple       3.51 k/s  3.89   879 ms        1.7    -\n"
          "                     a                                0.00 /s     0  0.00 ms\n"
          "      ^ a: throughput -100 %\n"));
  EXPECT_THAT(shown, Not(HasSubstr("samples")));
  EXPECT_THAT(shown, Not(HasSubstr("\x1b")));
  EXPECT_THAT(render({phase("run", "a")}, TimelineView::whole, true), HasSubstr("\x1b[1mtimeline\x1b[0m"));
}

TEST(RenderTimeline, theWholeTellsWhatBeganAPhase) {
  EXPECT_THAT(render({phase("run", "a")}, TimelineView::whole),
              HasSubstr("      7 samples, 1.21 tasks to run on a CPU, 2 stalled, fallback 12.0 /s\n"
                        "      > opApplied freezeCgroup a at +1.25 s, took 3.00 ms, after 12345 iterations\n"
                        "      > and 5 more\n"));
}

TEST(RenderTimeline, fitsTheTerminalAndIsCut) {
  const std::string name(150, 'n');
  const std::vector<std::string> many(50, phase(name, name));
  for (const TimelineView view : {TimelineView::brief, TimelineView::whole}) {
    std::istringstream lines(render(many, view));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(render::width(line), 100U) << line;
  }
  EXPECT_THAT(
      render(many, TimelineView::brief),
      HasSubstr("... and 36 more phases\n      all of it: ktstr record show 20261123-x --timeline\n"));
  EXPECT_THAT(render(many, TimelineView::whole), Not(HasSubstr("more phases")));
}

TEST(RenderTimeline, whatAGuestSaidMovesNoCursor) {
  EXPECT_THAT(render({phase(R"(\u001b[2Jrun)", R"(a\u001b]0;x)")}, TimelineView::whole),
              Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace ktstr
