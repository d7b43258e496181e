#include "orchestrator/scx_rate.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace ktstr {
namespace {

class Rate : public ::testing::Test {
 protected:
  void known(std::vector<const char*> names) {
    auto list = attached_->initRoot<rpc::Attached>().initScxEventNames(static_cast<unsigned>(names.size()));
    for (unsigned i = 0; i < names.size(); ++i) list.set(i, names[i]);
    rate_.find(attached_->getRoot<rpc::Attached>());
  }
  // 200 ms after the one before; the second counter of each CPU.
  std::optional<double> sample(std::vector<std::optional<uint64_t>> counts) {
    capnp::MallocMessageBuilder message;
    auto sample = message.initRoot<rpc::Sample>();
    sample.setAtNs(atNs_ += 200'000'000);
    auto cpus = sample.initCpus(static_cast<unsigned>(counts.size()));
    for (unsigned i = 0; i < cpus.size(); ++i) {
      if (counts[i]) cpus[i].initScxEvents(2).set(1, *counts[i]);
    }
    return rate_.next(sample);
  }

 private:
  std::unique_ptr<capnp::MallocMessageBuilder> attached_ = std::make_unique<capnp::MallocMessageBuilder>();
  ScxRate rate_{"SCX_EV_B"};
  uint64_t atNs_ = 0;
};

TEST_F(Rate, isTheDifferenceOfAllCpusPerSecond) {
  known({"SCX_EV_A", "SCX_EV_B"});
  EXPECT_EQ(sample({100, 5}), std::nullopt);
  EXPECT_EQ(sample({110, 15}), 100);
  EXPECT_EQ(sample({110, 15}), 0);
}

TEST_F(Rate, isUnknownWithoutACounterAndAfterANewScheduler) {
  EXPECT_EQ(sample({1, 1}), std::nullopt);
  EXPECT_EQ(sample({2, 2}), std::nullopt) << "nobody said which";
  known({"SCX_EV_A", "SCX_EV_B"});
  EXPECT_EQ(sample({2, 2}), std::nullopt);
  EXPECT_EQ(sample({3, std::nullopt}), std::nullopt);
  EXPECT_EQ(sample({3, 3}), std::nullopt);
  EXPECT_EQ(sample({4, 3}), 5);
  EXPECT_EQ(sample({0, 0}), std::nullopt) << "it counts anew";
  EXPECT_EQ(sample({1, 0}), 5);
}

}  // namespace
}  // namespace ktstr
