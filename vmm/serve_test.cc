// How both VMMs are told where to serve and whom: the options, and sockets from a service manager.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/socket.h"
#include "protocol/text.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;

class Serve : public testing::TestWithParam<const char*> {
 protected:
  Serve() {
    char name[] = "/tmp/ktstr-serve-XXXXXX";
    directory_ = mkdtemp(name);
    for (const char* socket : {"control", "observe", "gate"}) {
      sockets_.push_back(listenUnix(path(socket), 0600));
    }
  }
  ~Serve() noexcept override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name + ".sock"; }

  // Starts the VMM with these options; `activation` is LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES for the shell
  // that becomes it.
  Child start(const std::string& activation, const std::string& options) {
    SpawnOptions shell;
    shell.executable = "/bin/sh";
    shell.arguments = {"-c", text(activation, " exec ", toolPath(GetParam()), " ", options)};
    shell.descriptors = {{sockets_[0].get(), 3}, {sockets_[1].get(), 4}, {sockets_[2].get(), 5}};
    shell.standardError = log_.get();
    return spawn(shell);
  }
  // What it says and how it ends, which it must do by itself.
  std::string refusal(const std::string& activation, const std::string& options = "--activated") {
    Child vmm = start(activation, options);
    if (!eventually(5000, [&] { return vmm.poll().has_value(); })) return "it serves";
    const std::string all = readAll(log_.get());
    const std::string said = all.substr(seen_);
    seen_ = all.size();
    return said + describeWaitStatus(vmm.wait());
  }

  std::string directory_;
  std::vector<Fd> sockets_;
  const Fd log_ = makeMemfd("log", 0);
  size_t seen_ = 0;
};

TEST_P(Serve, TakesSocketsByTheirNames) {
  std::swap(sockets_[0], sockets_[2]);
  Child vmm = start("LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=gate:observe:control", "--activated");
  const auto connect = [&](const char* name) { return connectUnix(path(name)); };
  TestClient client(std::move(vmm), connect("control"), connect("observe"), connect("gate"));
  EXPECT_GT(client.wait(client.vmm().infoRequest().send()).getInfo().getEngine().size(), 0u);
  try {
    client.wait(client.gate().writeRequest().send());
    FAIL() << "written without a machine";
  } catch (const Error& e) {
    EXPECT_EQ(e.name(), "no-machine");
  }
  client.disconnect();
  EXPECT_EQ(describeWaitStatus(client.process().wait()), "exit code 0");
  EXPECT_TRUE(std::filesystem::exists(path("control"))) << "the sockets are the service manager's";
}

TEST_P(Serve, RefusesWrongActivation) {
  const std::string names = " LISTEN_FDNAMES=control:observe:gate";
  for (const std::string& activation :
       {std::string("unset LISTEN_PID;"), "LISTEN_PID=1 LISTEN_FDS=3" + names, "LISTEN_PID=$$" + names,
        "LISTEN_PID=$$ LISTEN_FDS=2" + names, "LISTEN_PID=$$x LISTEN_FDS=3" + names,
        std::string("LISTEN_PID=$$ LISTEN_FDS=3"),
        std::string("LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=control:control:gate"),
        std::string("LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=control:observe"),
        std::string("LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=control::gate")}) {
    const std::string said = refusal(activation);
    EXPECT_THAT(said, HasSubstr("activation-invalid: ")) << activation;
    EXPECT_THAT(said, HasSubstr("exit code 2")) << activation;
  }
}

TEST_P(Serve, RefusesDescriptorsThatDoNotListen) {
  const std::string good = "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=control:observe:gate";
  const auto with = [&](Fd other) {
    std::swap(sockets_[1], other);
    std::string said = refusal(good);
    std::swap(sockets_[1], other);
    return said;
  };
  const char* expected = "descriptor 4 is no listening Unix stream socket";
  EXPECT_THAT(with(makeSocketPair().first), HasSubstr(expected));
  EXPECT_THAT(with(makeMemfd("file", 0)), HasSubstr(expected));
  EXPECT_THAT(with(Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))), HasSubstr(expected));
  EXPECT_THAT(with(Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))), HasSubstr(expected));
}

TEST_P(Serve, ChecksUsersAndWays) {
  const std::string good = "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=control:observe:gate";
  EXPECT_THAT(refusal(good, "--activated --observe-uid root"), HasSubstr("exit code 2"))
      << "no name is looked up";
  EXPECT_THAT(refusal(good, "--activated --gate-uid ''"), HasSubstr("exit code 2"));
  EXPECT_THAT(refusal(good, "--activated --control-uid 4294967296"), HasSubstr("exit code 2"));
  EXPECT_THAT(refusal(good, "--activated --observer-uid 1"), HasSubstr("--observer-uid"));
  EXPECT_THAT(refusal(good, "--activated --control-fd 3"), HasSubstr("Exactly 1 option from [--control-fd,"));
  EXPECT_THAT(refusal("", "--observe-uid 0"), HasSubstr("Exactly 1 option from [--control-fd,"));
}

// `ktstr serve` finds out their numbers.
TEST(ServeCommand, NamesUsersByNumber) {
  const Fd log = makeMemfd("log", 0);
  const auto said = [&](const std::string& options) {
    SpawnOptions ktstr;
    ktstr.executable = "/bin/sh";
    ktstr.arguments = {"-c", text("exec ", toolPath("ktstr"), " serve ", options)};
    ktstr.standardError = log.get();
    return describeWaitStatus(spawn(ktstr).wait());
  };
  EXPECT_EQ(said("--activated --observe-uid no-such-user"), "exit code 2");
  EXPECT_THAT(readAll(log.get()),
              HasSubstr("user-unknown: --observe-uid: there is no user \"no-such-user\""));
  EXPECT_EQ(said("--activated --observe-uid root --gate-uid 61001"), "exit code 2");
  EXPECT_THAT(readAll(log.get()), HasSubstr("activation-invalid"))
      << "the VMM took them; there are no sockets";
  EXPECT_NE(said("--activated --dir /tmp"), "exit code 0");
}

INSTANTIATE_TEST_SUITE_P(On, Serve, testing::Values("ktstr-vmm-tcg", "ktstr-vmm"), [](const auto& engine) {
  return std::string(engine.param) == "ktstr-vmm" ? "Kvm" : "Tcg";
});

}  // namespace
}  // namespace ktstr::vmm
