#include "orchestrator/library/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// As a dump is: values are JSON in JSON.
const char* const dump =
    R"({"name":"before","reason":"operation",
 "maps":[
  {"name":"qmap.bss","entries":[{"key":"0","value":"{\"nr_queued\":18446744073709551615,\"delta\":-3,\"on\":true,)"
    R"(\"ctx\":[{\"name\":\"first\",\"next\":null},{\"name\":\"second\",\"next\":{\"@\":\"0xffff0010 pool\",\"load\":1.5}}],)"
    R"(\"state\":\"SCX_READY\",\"raw\":\"0xff12 symbol+0x4\",\"gone\":{\"absent\":\"not in memory\"}}"}]},
  {"name":"qmap.data","entries":[{"key":"0","value":"{\"slice_ns\":20000000,\"shared\":1}"}]},
  {"name":"qmap.rodata","entries":[{"key":"0","value":"{\"shared\":2}"}]},
  {"name":"tasks","incomplete":"half of it","entries":[{"key":"10","value":"{\"weight\":5}"},{"key":"11","value":"{\"weight\":50}"},
    {"key":"12","value":"{\"weight\":7}"},{"key":"13","value":""}]},
  {"name":"per_cpu","entries":[{"key":"0","cpu":0,"value":"7"},{"key":"0","cpu":1,"value":"8"}]},
  {"name":"empty"}],
 "cpus":[{"cpu":0,"nrRunning":2,"scxNrRunning":1},{"cpu":1,"nrRunning":3,"scxNrRunning":3}],
 "dsqs":[{"kind":"local","cpu":0,"nr":4},{"kind":"local","cpu":1,"nr":1},{"kind":"user","nr":9}],
 "tasks":[{"pid":1}],
 "events":[{"name":"SCX_EV_REFILL_SLICE_DFL","count":12}],
 "schedulerStats":"{\"nr\":{\"local\":6}}"})";

class SnapshotTest : public testing::Test {
 protected:
  Snapshot snapshot_{dump};
};

TEST_F(SnapshotTest, variablesAreFoundInAllSections) {
  EXPECT_EQ(snapshot_.name(), "before");
  EXPECT_EQ(snapshot_.var("nr_queued").asU64(), 18446744073709551615U);
  EXPECT_EQ(snapshot_.var("slice_ns").asI64(), 20'000'000);
  EXPECT_THAT(errorOf([&] { snapshot_.var("slice"); }),
              AllOf(StartsWith("var-not-found: no variable \"slice\" in before"),
                    HasSubstr("nr_queued, delta, on, ctx, state, raw, gone, slice_ns, shared")));
  EXPECT_THAT(errorOf([&] { snapshot_.var("shared"); }),
              AllOf(StartsWith("var-ambiguous: "), HasSubstr("there are: qmap.data, qmap.rodata;")));
}

TEST_F(SnapshotTest, pathsLeadThroughMembersListsAndFollowedPointers) {
  EXPECT_EQ(snapshot_.bpf("ctx[1].name").asStr(), "second");
  EXPECT_EQ(snapshot_.bpf("ctx[1].next.load").asF64(), 1.5);
  EXPECT_EQ(snapshot_.bpf(".rodata:shared").asU64(), 2U);
  EXPECT_EQ(snapshot_.var("ctx").get("[0].name").asStr(), "first");
  EXPECT_EQ(snapshot_.var("delta").get("").asI64(), -3);
  EXPECT_EQ(snapshot_.bpf("ctx[1].next").path(), "qmap.bss[0].ctx[1].next");
}

TEST_F(SnapshotTest, wrongPathsSayWhatThereIs) {
  const auto error = [&](const char* path) { return errorOf([&] { snapshot_.bpf(path); }); };
  EXPECT_EQ(
      error("ctx[0].nme"),
      "field-not-found: \"ctx[0].nme\": qmap.bss[0].ctx[0] has no member \"nme\" (there are: name, next)");
  EXPECT_THAT(
      error("delta.x"),
      StartsWith("not-a-struct: \"delta.x\" leads to \"x\" of qmap.bss[0].delta, which is the number -3"));
  EXPECT_THAT(error("delta[1]"),
              StartsWith("not-a-struct: \"delta[1]\" leads to element 1 of qmap.bss[0].delta"));
  EXPECT_THAT(error("ctx[2]"), AllOf(StartsWith("index-out-of-range: "), HasSubstr("(it has 2)")));
  EXPECT_THAT(error("ctx[x]"), StartsWith("index-out-of-range: "));
  for (const char* path : {"ctx[0]..name", "ctx[]", "ctx.", ".bss:.x"})
    EXPECT_THAT(error(path), StartsWith("empty-path-component: ")) << path;
  EXPECT_THAT(error("gone.x"), StartsWith("not-rendered: qmap.bss[0].gone could not be read: not in memory"));
}

TEST_F(SnapshotTest, valuesAreOfTheTypeThatTheyAreAskedFor) {
  const auto var = [&](const char* name) { return snapshot_.var(name); };
  EXPECT_EQ(var("on").asBool(), true);
  EXPECT_EQ(var("on").asU64(), 1U);
  EXPECT_EQ(var("state").asStr(), "SCX_READY");
  EXPECT_EQ(var("raw").asU64(), 0xff12U);
  EXPECT_EQ(snapshot_.bpf("ctx[1].next").asU64(), 0xffff0010U);
  EXPECT_EQ(snapshot_.bpf("ctx[0].next").asU64(), 0U);
  EXPECT_EQ(var("delta").asF64(), -3);
  EXPECT_EQ(errorOf([&] { (void)var("delta").asU64(); }),
            "type-mismatch: qmap.bss[0].delta is the number -3, not a number from 0");
  EXPECT_THAT(errorOf([&] { (void)var("nr_queued").asI64(); }), StartsWith("type-mismatch: "));
  EXPECT_THAT(errorOf([&] { (void)var("state").asU64(); }),
              HasSubstr("is the text \"SCX_READY\", not a number"));
  EXPECT_THAT(errorOf([&] { (void)var("delta").asBool(); }), HasSubstr("not true or false"));
  EXPECT_THAT(errorOf([&] { (void)snapshot_.bpf("ctx[0]").asF64(); }), HasSubstr("there are: name, next"));
  EXPECT_THAT(errorOf([&] { (void)var("on").asStr(); }), HasSubstr("is true, not text"));
  EXPECT_THAT(errorOf([&] { (void)var("gone").asU64(); }), StartsWith("not-rendered: "));
}

TEST_F(SnapshotTest, mapsAreSearched) {
  const SnapshotMap tasks = snapshot_.map("tasks");
  const auto weight = [](const SnapshotEntry& entry) {
    return entry.key().asU64() == 13 ? 0 : entry.get("weight").asF64();
  };
  EXPECT_EQ(tasks.size(), 4U);
  EXPECT_EQ(tasks.at(2).get("weight").asU64(), 7U);
  EXPECT_EQ(tasks.find([&](const auto& entry) { return weight(entry) > 6; }).key().asU64(), 11U);
  EXPECT_EQ(tasks.filter([&](const auto& entry) { return weight(entry) > 6; }).size(), 2U);
  EXPECT_EQ(tasks.maxBy(weight).key().asU64(), 11U);
  EXPECT_EQ(
      errorOf([&] { (void)tasks.find([](const auto&) { return false; }); }),
      "no-match: find: none of the 4 entries of map tasks; the dump has not all of it: half of it (there "
      "are: 10, 11, 12)");
  EXPECT_THAT(errorOf([&] { (void)tasks.at(4); }),
              AllOf(StartsWith("index-out-of-range: "), HasSubstr("half of it"), HasSubstr("it has 4")));
  EXPECT_THAT(errorOf([&] { (void)tasks.at(3).value(); }),
              StartsWith("not-rendered: tasks[13] has no value"));
  EXPECT_THAT(errorOf([&] { (void)snapshot_.map("empty").maxBy(weight); }), StartsWith("no-match: maxBy"));
}

TEST_F(SnapshotTest, mapsAreFoundByTheirNames) {
  EXPECT_EQ(snapshot_.map(".bss").name(), "qmap.bss");
  EXPECT_THAT(errorOf([&] { snapshot_.map("data"); }),
              AllOf(StartsWith("map-ambiguous: "), HasSubstr("there are: qmap.data, qmap.rodata")));
  EXPECT_EQ(
      errorOf([&] { snapshot_.map("x"); }),
      "map-not-found: no map \"x\" in before (there are: qmap.bss, qmap.data, qmap.rodata, tasks, per_cpu, "
      "empty)");
  const Snapshot none(R"({"name":"none","absent":[{"section":"maps","reason":"no map_idr"}]})");
  EXPECT_THAT(errorOf([&] { none.map("x"); }), HasSubstr("in none: no map_idr (there are none)"));
  EXPECT_THAT(errorOf([&] { none.var("x"); }), HasSubstr("no map_idr"));
}

TEST_F(SnapshotTest, perCpuMapsAreAskedForACpu) {
  const SnapshotMap map = snapshot_.map("per_cpu");
  EXPECT_EQ(map.cpu(1).at(0).value().asU64(), 8U);
  EXPECT_THAT(errorOf([&] { (void)map.at(0); }), StartsWith("per-cpu-not-narrowed: "));
  EXPECT_THAT(errorOf([&] { (void)map.cpu(2); }), HasSubstr("its last CPU is 1"));
  EXPECT_THAT(errorOf([&] { (void)snapshot_.map("tasks").cpu(0); }), HasSubstr("of no CPU"));
}

TEST_F(SnapshotTest, figuresAndStatistics) {
  EXPECT_EQ(snapshot_.figure("nrRunning"), 5);
  EXPECT_EQ(snapshot_.figure("scxNrRunning"), 4);
  EXPECT_EQ(snapshot_.figure("queuedTasks"), 14);
  EXPECT_EQ(snapshot_.figure("maxLocalDsqDepth"), 4);
  EXPECT_EQ(snapshot_.figure("tasks"), 1);
  EXPECT_EQ(snapshot_.figure("SCX_EV_REFILL_SLICE_DFL"), 12);
  EXPECT_EQ(snapshot_.stats("nr.local").asU64(), 6U);
  const Snapshot answered(R"({"name":"a","schedulerStats":"{\"errno\":0,\"args\":{\"resp\":{\"n\":7}}}"})");
  EXPECT_EQ(answered.stats("n").asU64(), 7U);
  const Snapshot refused(R"({"name":"a","schedulerStats":"{\"errno\":22,\"args\":{}}"})");
  EXPECT_EQ(errorOf([&] { (void)refused.stats("n"); }), "stats-missing: the scheduler answers with error 22");
  EXPECT_THAT(errorOf([&] { (void)snapshot_.figure("x"); }),
              AllOf(StartsWith("figure-unknown: "), HasSubstr("queuedTasks"), HasSubstr("SCX_EV_REFILL")));
  const Snapshot none(
      R"({"name":"none","absent":[{"section":"dsqs","reason":"no dsq_hash"},{"section":"schedulerStats","reason":"no socket"}]})");
  EXPECT_EQ(errorOf([&] { (void)none.figure("queuedTasks"); }), "not-rendered: queuedTasks: no dsq_hash");
  EXPECT_THAT(errorOf([&] { (void)none.stats("nr"); }),
              AllOf(StartsWith("stats-missing: "), HasSubstr("no socket")));
}

TEST(JsonTreeTest, anythingElseIsRefused) {
  EXPECT_THAT(errorOf([] { JsonTree::parse("{"); }), StartsWith("json-invalid: "));
  EXPECT_THAT(errorOf([] { JsonTree::parse(std::string(70, '[') + std::string(70, ']')); }),
              HasSubstr("deeper than 64"));
  EXPECT_EQ(JsonTree::parse(std::string(60, '[') + std::string(60, ']')).kind, JsonTree::Kind::list);
}

}  // namespace
}  // namespace ktstr
