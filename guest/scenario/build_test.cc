// Whether all that the schema knows can be said: what has no word here fails, also what a later schema adds.
#include "guest/scenario/build.h"

#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "protocol/json.h"

namespace ktstr::say {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

using Names = std::set<std::string>;

std::string nameOf(capnp::StructSchema::Field field) {
  return field.getProto().getName().cStr();
}

template <typename T>
Names membersOf() {
  Names names;
  for (const auto member : capnp::Schema::from<T>().getUnionFields()) names.insert(nameOf(member));
  return names;
}

std::string memberOf(capnp::DynamicStruct::Reader value) {
  KJ_IF_MAYBE (member, value.which()) {
    return nameOf(*member);
  }
  return "none";
}

// Which members of the union T these say.
template <typename T>
Names saidBy(const std::vector<Fill<T>>& all) {
  Names names;
  for (const auto& fill : all) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<T>());
    names.insert(memberOf(message.getRoot<T>().asReader()));
  }
  return names;
}

template <typename T, typename Said>
std::string jsonOf(const Said& said) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<T>();
  if constexpr (requires { said.write(root); }) {
    said.write(root);
  } else {
    said(root);
  }
  return toJson(root.asReader());
}

// The fields outside of a union that have their default.
Names unsaidIn(capnp::DynamicStruct::Reader value) {
  Names names;
  for (const auto field : value.getSchema().getNonUnionFields()) {
    if (!value.has(field, capnp::HasMode::NON_DEFAULT)) names.insert(nameOf(field));
  }
  return names;
}

TEST(Build, EveryOperationIsSayable) {
  const std::vector<Op> all = {addCgroup("a"),
                               removeCgroup("a"),
                               stopCgroup("a"),
                               freezeCgroup("a"),
                               unfreezeCgroup("a"),
                               setCpuset("a", llc(0)),
                               clearCpuset("a"),
                               swapCpusets("a", "b"),
                               setLimits("a", [](auto to) { to.setCpuWeight(1); }),
                               spawn("a", spinWait(1)),
                               setAffinity("a", oneCpu()),
                               moveAllTasks("a", "b"),
                               sleepMs(1),
                               runPayload("p", "ls"),
                               waitPayload("p"),
                               killPayload("p"),
                               attachScheduler(),
                               detachScheduler(),
                               replaceScheduler(),
                               writeMap({".bss:x=1"}),
                               snapshot("s"),
                               watch("jiffies")};
  EXPECT_EQ(saidBy<rpc::Op>(all), membersOf<rpc::Op>());
}

TEST(Build, EveryPlaceAndPolicyIsSayable) {
  EXPECT_EQ(saidBy<rpc::CpusetSpec>(
                {parentCpus(), llc(0), numa(0), range(0, 1), part(0, 2), overlap(0, 2, 0.5), cpus({0})}),
            membersOf<rpc::CpusetSpec>());
  EXPECT_EQ(saidBy<rpc::AffinityIntent>(
                {anywhere(), oneCpu(), oneLlc(), smtSiblings(), acrossCgroups(), onCpus({0}), randomCpus(1)}),
            membersOf<rpc::AffinityIntent>());
  EXPECT_EQ(saidBy<rpc::SchedPolicy>({normalPolicy(), batchPolicy(), idlePolicy(), fifoPolicy(1), rrPolicy(1),
                                      extPolicy(), deadlinePolicy(1, 2)}),
            membersOf<rpc::SchedPolicy>());
  EXPECT_EQ(saidBy<rpc::HoldSpec>({fraction(0.5), fixedMs(1), loop(1, 1)}), membersOf<rpc::HoldSpec>());
  std::vector<Fill<rpc::MemPolicy>> memory;
  for (const Memory& each :
       {defaultMemory(), localMemory(), memoryOf({0}), memoryPreferredOf(0), memoryPreferredOfAny({0}),
        memoryInterleaved({0}), memoryInterleavedByWeight({0})})
    memory.emplace_back([=](auto to) { each.write(to); });
  EXPECT_EQ(saidBy<rpc::MemPolicy>(memory), membersOf<rpc::MemPolicy>());
}

const std::vector<Work>& everyWorkType() {
  static const std::vector<Work> all = {
      spinWait(1),        yieldHeavy(1),         mixed(1),
      aluHot(1),          smtSiblingSpin(2),     ipcVariance(1),
      ioSyncWrite(1),     ioRandRead(1),         ioConvoy(1),
      bursty(1),          idleChurn(1),          pipeIo(2),
      futexPingPong(2),   futexFanOut(5),        fanOutCompute(5),
      asymmetricWaker(2), wakeChain(4),          epollStorm(3),
      thunderingHerd(8),  cachePressure(1),      cacheYield(1),
      cachePipe(2),       pageFaultChurn(1),     numaWorkingSetSweep(1),
      forkExit(1),        niceSweep(1),          affinityChurn(1),
      policyChurn(1),     numaMigrationChurn(1), cgroupChurn(1),
      mutexContention(4), priorityInversion(3),  producerConsumerImbalance(3),
      signalStorm(2),     preemptStorm(3),       rtStarvation(2),
      sequence(1, {}),    custom(1, "")};
  return all;
}

// And with nothing said of its parameters it has the schema's, also where a builder repeats them.
TEST(Build, EveryWorkTypeIsSayable) {
  Names names;
  for (const Work& work : everyWorkType()) {
    capnp::MallocMessageBuilder message, plain;
    work.write(message.initRoot<rpc::WorkSpec>());
    const auto said = message.getRoot<rpc::WorkSpec>().getType().asReader();
    names.insert(memberOf(said));
    capnp::DynamicStruct::Builder type = plain.initRoot<rpc::WorkType>();
    type.clear(memberOf(said));  // its defaults, and it is the one that is chosen
    EXPECT_EQ(toJson(said), toJson(type.asReader()));
  }
  EXPECT_EQ(names, membersOf<rpc::WorkType>());
  EXPECT_EQ(names.size(), 38U);
}

TEST(Build, ParametersAreSaidBesideTheDefaultsOfTheRest) {
  EXPECT_THAT(jsonOf<rpc::WorkSpec>(wakeChain(8, [](auto to) { to.setDepth(8); })),
              HasSubstr(R"("wakeChain":{"depth":8,"wake":"pipe","workPerHopUs":100})"));
  EXPECT_THAT(jsonOf<rpc::WorkSpec>(numaWorkingSetSweep(1,
                                                        [](auto to) {
                                                          to.setTargetNodes({1, 0});
                                                        })),
              HasSubstr(R"("targetNodes":[1,0])"));
  EXPECT_THAT(jsonOf<rpc::WorkSpec>(aluHot(1, rpc::AluWidth::VEC256)), HasSubstr(R"("width":"vec256")"));
  EXPECT_THAT(jsonOf<rpc::AffinityIntent>(randomCpus(2, 3, {4, 5, 6})),
              HasSubstr(R"({"pool":[4,5,6],"count":2,"seed":3})"));
  EXPECT_THAT(jsonOf<rpc::SchedPolicy>(deadlinePolicy(1, 2, 3)),
              HasSubstr(R"({"runtimeUs":1,"deadlineUs":2,"periodUs":3})"));
  const std::vector<WorkPhase> phases = {spinFor(1), sleepFor(2), yieldFor(3), ioFor(4), aluHotFor(5)};
  EXPECT_EQ(saidBy<rpc::WorkPhase>(phases), membersOf<rpc::WorkPhase>());
  EXPECT_THAT(jsonOf<rpc::WorkSpec>(sequence(1, phases)),
              HasSubstr(R"("phases":[{"spinUs":1},{"sleepUs":2},{"yieldUs":3},{"ioUs":4},{"aluHot":)"));
}

TEST(Build, EveryFieldOfWorkAndCgroupsIsSayable) {
  capnp::MallocMessageBuilder message;
  const Work work = spinWait(2)
                        .name("w")
                        .nice(1)
                        .affinity(oneCpu())
                        .threads()
                        .policy(batchPolicy())
                        .memory(memoryOf({0}).staticNodes().relativeNodes().numaBalancing())
                        .comm("c")
                        .pcomm("p")
                        .uid(1)
                        .gid(1)
                        .numaNode(0);
  Cgroup("a")
      .cpuset(llc(0))
      .limits([](auto to) { to.setPidsMax(1); })
      .work(work)
      .cpusetMems({0})
      .nice(1)
      .comm("c")
      .pcomm("p")
      .uid(1)
      .gid(1)
      .numaNode(0)
      .write(message.initRoot<rpc::CgroupDef>());
  const auto cgroup = message.getRoot<rpc::CgroupDef>().asReader();
  EXPECT_THAT(unsaidIn(cgroup), IsEmpty());
  EXPECT_THAT(unsaidIn(cgroup.getWork()[0]), IsEmpty());
  EXPECT_THAT(unsaidIn(cgroup.getWork()[0].getMemory()), IsEmpty());
}

TEST(Build, EveryFieldOfScenariosIsSayable) {
  capnp::MallocMessageBuilder message;
  Scenario("s", "about")
      .durationMs(1)
      .snapshots(1)
      .step(Step("run")
                .cgroup(Cgroup("a").work(spinWait(1)))
                .op(runPayload("p", "ls", {"-l"}, "a", 2))
                .hold(fixedMs(1)))
      .backdrop(Cgroup("b").work(spinWait(1)))
      .backdropOp(addCgroup("c"))
      .scheduler("other", "scx_simple", {"-v"})
      .assertions([](auto to) { to.setMaxGapMs(1); })
      .write(message.initRoot<rpc::Scenario>());
  const auto scenario = message.getRoot<rpc::Scenario>().asReader();
  EXPECT_EQ(unsaidIn(scenario), Names{"schedulerAssertions"}) << "which KTSTR_SCHEDULER says";
  EXPECT_THAT(unsaidIn(scenario.getSteps()[0]), IsEmpty());
  EXPECT_THAT(unsaidIn(scenario.getSteps()[0].getOps()[0].getRunPayload()), IsEmpty());
  EXPECT_THAT(unsaidIn(scenario.getBackdrop()), IsEmpty());
  EXPECT_THAT(unsaidIn(scenario.getSchedulers()[0]), IsEmpty());
}

// What has no word is still said, and one after the other adds up.
TEST(Build, FillsAddUp) {
  EXPECT_THAT(jsonOf<rpc::CgroupDef>(Cgroup("a")
                                         .limits([](auto to) { to.setCpuWeight(5); })
                                         .limits([](auto to) { to.setPidsMax(6); })
                                         .set([](auto to) { to.setComm("c"); })),
              AllOf(HasSubstr(R"("cpuWeight":5)"), HasSubstr(R"("pidsMax":6)"), HasSubstr(R"("comm":"c")")));
}

}  // namespace
}  // namespace ktstr::say
