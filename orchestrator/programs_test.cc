#include "orchestrator/programs.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/store.h"
#include "guest/scenario/build.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using namespace say;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// What of the host is packed into the guest, "HOST at GUEST".
std::vector<std::string> packedFor(const Scenario& scenario) {
  capnp::MallocMessageBuilder message;
  scenario.write(message.initRoot<rpc::Scenario>());
  std::vector<std::string> packed;
  const cache::Entry kernel;
  for (const auto& file :
       imageFiles(resolvePrograms("", message.getRoot<rpc::Scenario>().asReader(), kernel)))
    packed.push_back(file.hostPath + " at " + file.guestPath);
  return packed;
}

TEST(Programs, ThatOfCustomWorkIsPackedWhereThereIsSuchWorkAlone) {
  EXPECT_THAT(packedFor(Scenario("x", "").step(Step("run").cgroup(Cgroup("a").work(spinWait(1))))),
              IsEmpty());
  EXPECT_THAT(
      packedFor(Scenario("x", "")
                    .step(Step("run").cgroup(Cgroup("a").work(spinWait(1)).work(custom(2, "f", "./mine"))))
                    .step(Step("more").op(spawn("", custom(1, "g", "./mine"))))),
      ElementsAre("./mine at /ktstr/bin/mine"))
      << "once for all of it";
}

TEST(Programs, PayloadsAreFoundInPathAndOneNameIsOneFile) {
  const auto running = [](const char* first, const char* second) {
    return Scenario("x", "").step(Step("run").op(runPayload("a", first)).op(runPayload("b", second)));
  };
  EXPECT_THAT(packedFor(running("sh", "sh")), ElementsAre(HasSubstr("/sh at /ktstr/bin/sh")));
  EXPECT_THAT(errorOf([&] { packedFor(running("./one/sh", "./two/sh")); }),
              HasSubstr("image-path-invalid: ./one/sh and ./two/sh would both be /ktstr/bin/sh"));
  EXPECT_THAT(errorOf([&] { packedFor(running("no-such-program", "sh")); }), HasSubstr("payload-not-found"));
  EXPECT_THAT(errorOf([] { packedFor(Scenario("x", "").step(Step("run").op(spawn("", custom(1, "f"))))); }),
              HasSubstr("custom-program-missing"));
}

}  // namespace
}  // namespace ktstr
