#include "orchestrator/record_store.h"
#include "protocol/file.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

namespace ktstr {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr uint64_t noon = 1'700'000'000'000;  // 2023-11-14 22:13:20 UTC

class Records : public ::testing::Test {
 protected:
  Records() {
    std::string path = (fs::temp_directory_path() / "ktstr-records-XXXXXX").string();
    root_ = mkdtemp(path.data());
  }
  ~Records() override { fs::remove_all(root_); }

  RecordStore store() { return RecordStore(root_); }
  fs::path runs() { return fs::path(root_) / "runs"; }

  std::string keep(const char* scenario, uint64_t atMs) {
    RecordStore records = store();
    PendingRecord pending = records.begin(scenario, "eevdf", atMs);
    capnp::MallocMessageBuilder message;
    auto record = message.initRoot<rpc::RunRecord>();
    record.setId(pending.id());
    record.setScenario(scenario);
    pending.finish(record.asReader());
    return pending.id();
  }

  size_t entries() {
    return static_cast<size_t>(std::distance(fs::directory_iterator(runs()), fs::directory_iterator()));
  }

  std::string root_;
};

TEST_F(Records, becomeVisibleWhole) {
  RecordStore records = store();
  PendingRecord pending = records.begin("mixed-load", "scx_simple", noon);
  EXPECT_THAT(pending.id(),
              MatchesRegex(
                  "20231114T221320Z-mixed-load-scx_simple-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]"));
  pending.append(RecordFile::console, "hello ");
  pending.append(RecordFile::console, "world\n");
  openFile(pending.partialPath("ram.bin"), O_WRONLY | O_CREAT, 0600);
  EXPECT_TRUE(records.list().empty());
  EXPECT_FALSE(fs::exists(pending.directory()));

  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  record.setId(pending.id());
  record.initVerdict().setOutcome(rpc::Outcome::FAIL);
  pending.finish(record.asReader());

  EXPECT_EQ(records.list(), std::vector<std::string>{pending.id()});
  for (size_t i = 0; i < recordFileCount; ++i) {
    EXPECT_TRUE(fs::exists(fs::path(pending.directory()) / recordFileName(static_cast<RecordFile>(i))));
  }
  EXPECT_TRUE(fs::exists(pending.directory() + "/ram.bin"));
  EXPECT_EQ(readFile(pending.directory() + "/console.log"), "hello world\n");
  capnp::MallocMessageBuilder loaded;
  auto out = loaded.initRoot<rpc::RunRecord>();
  loadRecord(records.find(pending.id()), out);
  EXPECT_EQ(out.asReader().getId(), pending.id());
  EXPECT_EQ(out.getVerdict().getOutcome(), rpc::Outcome::FAIL);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Records, leaveNothingWhenGivenUp) {
  {
    PendingRecord pending = store().begin("a", "eevdf", noon);
    writeAll(openFile(pending.partialPath("ram.bin"), O_WRONLY | O_CREAT, 0600).get(),
             std::string_view("RAM"));
  }
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Records, ofAKilledWriterAreRemovedByTheNext) {
  const pid_t child = fork();
  if (child == 0) {
    PendingRecord pending = store().begin("a", "eevdf", noon);
    openFile(pending.partialPath("ram.bin"), O_WRONLY | O_CREAT, 0600);
    _exit(0);  // without destructors, as if killed
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(entries(), 1u);
  PendingRecord alive = store().begin("b", "eevdf", noon);
  EXPECT_EQ(entries(), 1u);
  PendingRecord second = store().begin("c", "eevdf", noon);  // takes nothing from a writer that lives
  EXPECT_EQ(entries(), 2u);
}

TEST_F(Records, areFoundByIdPrefixPathAndAge) {
  const std::string older = keep("a", noon), newer = keep("b", noon + 1000);
  EXPECT_EQ(store().list(), (std::vector<std::string>{newer, older}));
  const std::string path = (runs() / older).string();
  EXPECT_EQ(store().find(older), path);
  EXPECT_EQ(store().find("20231114T221320Z-a"), path);
  EXPECT_EQ(store().find(path), path);
  EXPECT_EQ(store().find(path + "/"), path);
  EXPECT_EQ(store().find(path + "/record.json"), path);
  EXPECT_EQ(store().find("latest"), (runs() / newer).string());
}

std::string errorName(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_TRUE(!error.hint().empty() || error.name() == "json-invalid");
    return error.name();
  }
  return "no error";
}

TEST_F(Records, thatAreNotThereAreNamed) {
  EXPECT_EQ(errorName([&] { store().find("latest"); }), "record-not-found");
  keep("a", noon);
  keep("b", noon);
  EXPECT_EQ(errorName([&] { store().find("20231114"); }), "record-ambiguous");
  EXPECT_EQ(errorName([&] { store().find("x"); }), "record-not-found");
  EXPECT_EQ(errorName([&] { store().find(""); }), "record-not-found");
  EXPECT_EQ(errorName([&] { store().find("/nowhere"); }), "record-not-found");
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  EXPECT_EQ(errorName([&] { loadRecord("/nowhere", record); }), "record-unreadable");
  fs::create_directories(runs() / "broken");
  std::ofstream(runs() / "broken" / "record.json") << "{\"id\": 7}";
  EXPECT_EQ(errorName([&] { loadRecord((runs() / "broken").string(), record); }), "json-invalid");
}

TEST_F(Records, haveNamesWithoutSlashes) {
  PendingRecord pending = store().begin("../../etc", "a b/c", noon);
  EXPECT_THAT(pending.id(), HasSubstr("-.._.._etc-a_b_c-"));
}

TEST_F(Records, keepOnlySoMuchOfAnEndlessLog) {
  PendingRecord pending = store().begin("a", "eevdf", noon);
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 65; ++i) pending.append(RecordFile::console, block);
  capnp::MallocMessageBuilder message;
  pending.finish(message.initRoot<rpc::RunRecord>().asReader());
  const std::string console = readFile(pending.directory() + "/console.log");
  EXPECT_LE(console.size(), maxRecordFileBytes);
  EXPECT_THAT(console.substr(console.size() - 60), HasSubstr("more bytes are not stored]"));
}

TEST_F(Records, saySoWhenTheDiskIsFull) {
  if (mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "cannot mount a small tmpfs: " << strerror(errno);
  std::string name;
  {
    PendingRecord pending = store().begin("a", "eevdf", noon);
    pending.append(RecordFile::console, std::string(1 << 20, 'x'));
    pending.append(RecordFile::console, "the run goes on\n");
    capnp::MallocMessageBuilder message;
    name = errorName([&] { pending.finish(message.initRoot<rpc::RunRecord>().asReader()); });
  }
  const size_t left = entries();
  umount2(root_.c_str(), MNT_DETACH);
  EXPECT_EQ(name, "disk-full");
  EXPECT_EQ(left, 0u);
}

TEST_F(Records, liveWhereTheEnvironmentSays) {
  setenv("KTSTR_STATE_DIR", "/one", 1);
  setenv("XDG_STATE_HOME", "/two", 1);
  EXPECT_EQ(RecordStore::open().runsDirectory(), "/one/runs");
  unsetenv("KTSTR_STATE_DIR");
  EXPECT_EQ(RecordStore::open().runsDirectory(), "/two/ktstr/runs");
  unsetenv("XDG_STATE_HOME");
}

}  // namespace
}  // namespace ktstr
