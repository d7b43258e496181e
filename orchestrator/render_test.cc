#include "orchestrator/render.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>

#include "orchestrator/render_text.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void addGroup(rpc::GroupStats::Builder group, const char* cgroup, const char* work) {
  group.setStep("main");
  group.setCgroup(cgroup);
  group.setWork(work);
  group.setWorkers(4);
  group.setIterationsPerSecond(1'234'567);
  group.setMaxGapMs(45.6);
  group.setMigrations(12);
  auto seen = group.initCpusSeen(4);
  for (unsigned i = 0; i < 4; ++i) seen.set(i, i);
}

rpc::RunRecord::Builder makeRecord(capnp::MallocMessageBuilder& message, const char* scheduler,
                                   rpc::Outcome outcome) {
  auto record = message.initRoot<rpc::RunRecord>();
  record.setScenario("mixed");
  record.setScheduler(scheduler);
  record.setTopology("1n2l2c2t");
  record.setMemoryMib(512);
  record.setAccelerator("tcg");
  record.initKernel().setRelease("7.3.4+deb13-cloud-amd64");
  record.setDirectory(std::string("/home/u/.local/state/ktstr/runs/20261122T132751Z-mixed-") + scheduler +
                      "-a1b2c3");
  record.initVerdict().setOutcome(outcome);
  auto groups = record.initGroups(2);
  addGroup(groups[0], "left", "spinWait");
  groups[0].setSpreadPct(12.345);
  addGroup(groups[1], "right", "bursty");
  groups[1].setP50WakeLatencyUs(80);
  groups[1].setP99WakeLatencyUs(12'345);
  auto phases = record.initPhases(2);
  phases[0].setName("boot");
  phases[0].setDurationMs(2100);
  phases[1].setName("scenario");
  phases[1].setStartMs(2100);
  phases[1].setDurationMs(2000);
  auto seen = record.initMonitor();
  seen.setSamples(20);
  seen.setValidSamples(20);
  seen.setScxEnabledSamples(20);
  seen.initOpsNames(1).set(0, "simple");
  seen.setMaxLocalDsqDepth(3);
  seen.setMaxImbalanceRatio(2.5);
  seen.setMeanCostNs(53'000);
  return record;
}

void expectFits(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("/runs/") != std::string::npos) continue;  // a path is never broken
    EXPECT_LE(render::width(line), 100u) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line << "|";
  }
}

TEST(Render, aPassIsShort) {
  capnp::MallocMessageBuilder message;
  const std::string text =
      renderRecord(makeRecord(message, "scx_simple", rpc::Outcome::PASS).asReader(), false);
  EXPECT_THAT(text, testing::StartsWith("PASS  mixed under scx_simple\n"));
  EXPECT_THAT(text, HasSubstr("12.3 pp"));
  EXPECT_THAT(text, HasSubstr("1.23 M/s"));
  EXPECT_THAT(text, HasSubstr("20 of 20 samples usable; sched_ext on in 20 (simple); local DSQ up to 3"));
  EXPECT_THAT(text, HasSubstr("boot 2.10 s, scenario 2.00 s, in all 4.10 s"));
  EXPECT_THAT(text, HasSubstr("/runs/20261122T132751Z-mixed-scx_simple-a1b2c3\n"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  EXPECT_THAT(text, Not(HasSubstr("step")));  // one step needs no column
  expectFits(text);
}

TEST(Render, aFailureTellsWhatToDo) {
  capnp::MallocMessageBuilder message;
  auto record = makeRecord(message, "scx_simple", rpc::Outcome::FAIL);
  auto findings = record.getVerdict().initFindings(2);
  findings[0].setName("worker-gap");
  findings[0].setOutcome(rpc::Outcome::FAIL);
  std::string longText;
  for (int i = 0; i < 40; ++i) longText += "word" + std::to_string(i) + " ";
  findings[0].setMessage(longText);
  findings[0].setHint("look at samples.jsonl");
  findings[0].setEvidence("one\n" + longText + "last\n" + std::string(300, 'x') + "\n\x1b[2Jthree");
  findings[1].setName("kernel-warning");
  findings[1].setOutcome(rpc::Outcome::PASS);
  findings[1].setMessage("WARNING");
  const std::string text = renderRecord(record.asReader(), false);
  EXPECT_THAT(text, testing::StartsWith("FAIL  mixed"));
  EXPECT_THAT(text, HasSubstr("\n  fail: worker-gap\n    word0 word1"));
  EXPECT_THAT(text, HasSubstr("\n    -> look at samples.jsonl\n    | one\n"));
  EXPECT_THAT(text, HasSubstr("    | three\n"));
  EXPECT_THAT(text, HasSubstr("\n    | word0 word1"));
  EXPECT_THAT(text, HasSubstr("word39 last\n")) << "a long line goes on in the next";
  EXPECT_THAT(text, HasSubstr("remark: kernel-warning"));
  expectFits(text);
  EXPECT_THAT(renderRecord(record.asReader(), true), HasSubstr("\x1b[1;31mFAIL\x1b[0m"));
}

TEST(Render, tellsWhatTheKernelCounted) {
  capnp::MallocMessageBuilder message;
  auto record = makeRecord(message, "scx_simple", rpc::Outcome::PASS);
  EXPECT_THAT(renderRecord(record.asReader(), false), testing::Not(HasSubstr("schedules")));
  auto seen = record.getMonitor();
  seen.setSchedulesPerSecond(1310);
  seen.setLocalWakeupShare(0.62);
  seen.setRunDelayMsPerSecond(301);
  auto programs = seen.initPrograms(10);
  for (auto program : programs) program.setName("other");
  programs[0].setName("dispatch");
  programs[0].setRuns(12'034);
  programs[0].setNanosPerRun(1210);
  programs[0].setMisses(3);
  const std::string text = renderRecord(record.asReader(), false);
  EXPECT_THAT(text, HasSubstr("1.31 k/s schedules"));
  EXPECT_THAT(text, HasSubstr("62 % of wakeups local"));
  EXPECT_THAT(text, HasSubstr("301 ms a second"));
  EXPECT_THAT(text, HasSubstr("  programs dispatch 12034 runs of 1.21 us and 3 missed, "));
  EXPECT_THAT(text, HasSubstr(" 2 more"));
  expectFits(text);
}

TEST(Render, longNamesAreCutToTheTerminal) {
  capnp::MallocMessageBuilder message;
  auto record = makeRecord(message, "scx_simple", rpc::Outcome::PASS);
  auto group = record.getGroups()[0];
  group.setStep("another step with a long name");
  group.setCgroup(std::string(80, 'c'));
  group.setWork(std::string(80, 'w'));
  expectFits(renderRecord(record.asReader(), false));
}

TEST(Render, anEmptyRecordIsNoProblem) {
  capnp::MallocMessageBuilder message;
  const std::string text = renderRecord(message.initRoot<rpc::RunRecord>().asReader(), true);
  EXPECT_THAT(text, HasSubstr("took no sample"));
  EXPECT_EQ(renderComparison({}, false), "");
}

TEST(Render, tellsWhatWasWrittenIntoTheScheduler) {
  capnp::MallocMessageBuilder message;
  auto record = makeRecord(message, "scx_x", rpc::Outcome::PASS);
  EXPECT_THAT(renderRecord(record, false), Not(HasSubstr("written")));
  auto writes = record.initMapWrites(2);
  writes[0].setAsked(".data:x=7");
  writes[0].setBefore(3);
  writes[1].setAsked(".data:y=1");
  writes[1].setFailure("held-back");
  auto watchdog = record.initWatchdog(1)[0];
  watchdog.setReadBackMs(5000);
  watchdog.setBeforeMs(30'000);
  const std::string shown = renderRecord(record, false);
  EXPECT_THAT(shown, HasSubstr(".data:x=7 (was 3); watchdog 5000 ms (was 30000)"));
  EXPECT_THAT(shown, Not(HasSubstr(".data:y")));
}

TEST(Render, comparesSideBySide) {
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages;
  std::vector<rpc::RunRecord::Reader> records;
  for (const char* scheduler : {"eevdf", "scx_simple", "scx_qmap", "scx_flatcg"}) {
    messages.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    records.push_back(makeRecord(*messages.back(), scheduler, rpc::Outcome::PASS));
  }
  auto failed = messages[2]->getRoot<rpc::RunRecord>();
  failed.getVerdict().setOutcome(rpc::Outcome::FAIL);
  failed.getVerdict().initFindings(1)[0].setName("worker-gap");
  failed.getVerdict().getFindings()[0].setOutcome(rpc::Outcome::FAIL);
  messages[0]->getRoot<rpc::RunRecord>().initMonitor();
  const std::string text = renderComparison(records, false);
  EXPECT_THAT(text, testing::StartsWith("mixed on 1n2l2c2t, kernel 7.3.4+deb13-cloud-amd64, tcg\n"));
  EXPECT_THAT(text, HasSubstr("eevdf    scx_simple      scx_qmap    scx_flatcg"));
  EXPECT_THAT(text, HasSubstr("PASS          PASS          FAIL          PASS"));
  EXPECT_THAT(text, HasSubstr("worker-gap"));
  EXPECT_THAT(text, HasSubstr("  sched_ext enabled                  -         100 %"));
  EXPECT_THAT(text, HasSubstr("iterations, all workers       2.47 M/s      2.47 M/s"));
  EXPECT_THAT(text, HasSubstr("p99 wake latency, worst        12.3 ms"));
  EXPECT_THAT(text, HasSubstr("  whole run"));
  expectFits(text);
  if (getenv("KTSTR_SHOW") != nullptr) fputs(renderComparison(records, true).c_str(), stdout);
}

TEST(Render, moreColumnsThanFitGoBelow) {
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages;
  std::vector<rpc::RunRecord::Reader> records;
  for (int i = 0; i < 9; ++i) {
    messages.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    records.push_back(makeRecord(*messages.back(), ("scx_" + std::to_string(i)).c_str(), rpc::Outcome::PASS));
  }
  const std::string text = renderComparison(records, false);
  for (int i = 0; i < 9; ++i) EXPECT_THAT(text, HasSubstr("scx_" + std::to_string(i)));
  expectFits(text);
}

TEST(RenderText, numbersHaveThreeDigitsAndAUnit) {
  EXPECT_EQ(render::milliseconds(0.5), "0.50 ms");
  EXPECT_EQ(render::milliseconds(45.67), "45.7 ms");
  EXPECT_EQ(render::milliseconds(999.4), "999 ms");
  EXPECT_EQ(render::milliseconds(999.6), "1.00 s");
  EXPECT_EQ(render::microseconds(1500), "1.50 ms");
  EXPECT_EQ(render::rate(2'000'000'000), "2.00 G/s");
  EXPECT_EQ(render::rate(0), "0.00 /s");
  EXPECT_EQ(render::ratio(3), "3");
  EXPECT_EQ(render::ratio(2.5), "2.5");
  EXPECT_EQ(render::milliseconds(std::numeric_limits<double>::quiet_NaN()), "-");
}

TEST(RenderText, wrapsAtSpacesAndCountsCharacters) {
  EXPECT_EQ(render::wrap("short", 2), "  short\n");
  const std::string umlauts = "\xc3\xa4\xc3\xa4";
  EXPECT_EQ(render::width(umlauts), 2u);
  EXPECT_EQ(render::padLeft(umlauts, 4), "  " + umlauts);
  EXPECT_EQ(render::padRight("abcdef", 4), "abc~");
  const std::string endless = render::wrap(std::string(250, 'x'), 0);
  EXPECT_EQ(endless,
            std::string(100, 'x') + "\n" + std::string(100, 'x') + "\n" + std::string(50, 'x') + "\n");
}

TEST(Render, showsEachGroupBesideEevdf) {
  capnp::MallocMessageBuilder message;
  auto record = makeRecord(message, "scx_simple", rpc::Outcome::PASS);
  EXPECT_THAT(renderRecord(record.asReader(), false), Not(HasSubstr("EEVDF")));
  const auto fill = [](rpc::BaselineFigure::Builder figure, const char* cgroup, const char* name, double ours,
                       double eevdfs) {
    figure.setStep("main");
    figure.setCgroup(cgroup);
    figure.setWork("spinWait");
    figure.setName(name);
    figure.setScheduler(ours);
    figure.setBaseline(eevdfs);
  };
  auto figures = record.initBaseline(4);
  fill(figures[0], "left", "iterationsPerSecond", 500, 1000);
  fill(figures[1], "left", "spreadPct", 12, 2);
  fill(figures[2], "left", "migrationRatio", 0.5, 0);
  fill(figures[3], "right", "maxGapMs", 30, 20);
  const std::string out = renderRecord(record.asReader(), false);
  EXPECT_THAT(out, HasSubstr("beside EEVDF, in the same machine"));
  EXPECT_THAT(out, ::testing::ContainsRegex("left +spinWait +EEVDF +2.00 pp +- +- +- +0 +1.00 k/s"));
  EXPECT_THAT(out, ::testing::ContainsRegex("scx_simple +\\+10.0 pp +- +- +- +- +x 0.5\n"));
  EXPECT_THAT(out, ::testing::ContainsRegex("scx_simple +- +x 1.5 +-"));
}

}  // namespace
}  // namespace ktstr
