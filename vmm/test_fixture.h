// For tests of a whole VMM as a child, with the flat guest in a machine: one instance on each accelerator.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/test_error.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {

// The parameter is the program: "ktstr-vmm-tcg" or "ktstr-vmm", which runs on the real /dev/kvm.
class MachineTest : public testing::TestWithParam<const char*> {
 protected:
  explicit MachineTest(uint32_t vcpus = 1)
      : machine_(uint64_t{4} << 20, vcpus),
        ramView_(machine_.ram.get(), 0, machine_.ramBytes, PROT_READ),
        client_(GetParam()) {}
  ~MachineTest() noexcept override {}

  void SetUp() override {
    if (!onKvm()) return;
    if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  }
  bool onKvm() const { return std::string_view(GetParam()) == "ktstr-vmm"; }

  void start() {
    vm_.emplace(client_.boot(machine_));
    client_.takeDoorbell(*vm_);
    client_.wait(vm_->startRequest().send());
  }
  uint64_t word(uint64_t gpa) {
    return __atomic_load_n(reinterpret_cast<uint64_t*>(ramView_.data() + gpa), __ATOMIC_RELAXED);
  }
  void command(std::string_view bytes) {
    client_.ring(bytes);
    ASSERT_EQ(client_.hear(), 'k');
  }
  // The guest obeys.
  void expectAlive() {
    client_.ring("e1");
    EXPECT_EQ(client_.hear(), '2');
  }
  auto exitOf() { return client_.wait(vm_->waitRequest().send()); }
  void freeze() { client_.wait(vm_->freezeRequest().send()); }
  void thaw() { client_.wait(vm_->thawRequest().send()); }

  TestMachine machine_;
  Mapping ramView_;
  TestClient client_;
  std::optional<rpc::Machine::Client> vm_;
};

inline std::string acceleratorName(const testing::TestParamInfo<const char*>& program) {
  return std::string_view(program.param) == "ktstr-vmm" ? "Kvm" : "Tcg";
}

}  // namespace ktstr::vmm

#define EXPECT_ERROR(name, ...) \
  EXPECT_EQ(::ktstr::errorOf([&] { __VA_ARGS__; }).substr(0, strlen(name)), name)

#define KTSTR_ON_BOTH_ACCELERATORS(suite)                                              \
  INSTANTIATE_TEST_SUITE_P(On, suite, ::testing::Values("ktstr-vmm-tcg", "ktstr-vmm"), \
                           ::ktstr::vmm::acceleratorName)
