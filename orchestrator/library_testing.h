// For tests of the library: an orchestrator that boots nothing and answers what it is told.
#pragma once

#include <capnp/message.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cache/test_images.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/record.capnp.h"

namespace ktstr {

inline void fillRecord(rpc::RunRecord::Builder record, rpc::Outcome outcome, const std::string& finding) {
  auto verdict = record.initVerdict();
  verdict.setOutcome(outcome);
  record.setDirectory("/run");
  if (finding.empty()) return;
  auto reason = verdict.initFindings(1)[0];
  reason.setName(finding);
  reason.setOutcome(outcome);
  reason.setMessage("as it was told to be");
}

// As `ktstr-orchestrator run --format jsonl` prints one.
inline std::string recordOf(rpc::Outcome outcome, const std::string& finding = "") {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  fillRecord(record, outcome, finding);
  return toJson(record.asReader());
}

// What $KTSTR_BIN_DIR is while one of these lives: a directory whose ktstr-orchestrator is a script.
class TestOrchestrator {
 public:
  TestOrchestrator() {
    const char* before = getenv("KTSTR_BIN_DIR");
    if (before != nullptr) before_ = before;
    const std::string program = directory() + "/ktstr-orchestrator";
    std::ofstream(program) << "#!/bin/sh\ncd " + directory() +
                                  "; echo >> runs; run=$(($(wc -l < runs)))\n"
                                  "cat > scenario$run; echo \"$@\" > words\n"
                                  "[ -e answer$run ] || run=last\ncat answer$run\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    setenv("KTSTR_BIN_DIR", directory().c_str(), 1);
  }
  ~TestOrchestrator() {
    if (before_.empty()) {
      unsetenv("KTSTR_BIN_DIR");
    } else {
      setenv("KTSTR_BIN_DIR", before_.c_str(), 1);
    }
  }
  TestOrchestrator(const TestOrchestrator&) = delete;
  TestOrchestrator& operator=(const TestOrchestrator&) = delete;

  // To the runs from now on, one after the other, then the last one again and again.
  void answer(const std::vector<std::string>& answers) {
    for (const auto& file : std::filesystem::directory_iterator(directory())) {
      const std::string name = file.path().filename();
      if (name == "runs" || name.starts_with("answer") || name.starts_with("scenario"))
        std::filesystem::remove(file.path());
    }
    for (size_t i = 0; i < answers.size(); i++)
      std::ofstream(directory() + "/answer" + std::to_string(i + 1)) << answers[i] << "\n";
    if (!answers.empty()) std::ofstream(directory() + "/answerlast") << answers.back() << "\n";
  }

  std::string directory() const { return directory_.path(); }
  size_t runs() const {
    const std::string file = directory() + "/runs";
    return std::filesystem::exists(file) ? readFile(file).size() : 0;
  }
  // What the run was told, of all of them since answer() number 1, 2, ...; and the words of the last one.
  std::string scenario(size_t run) const { return readFile(directory() + "/scenario" + std::to_string(run)); }
  std::string words() const { return readFile(directory() + "/words"); }

 private:
  cache::test::TemporaryDirectory directory_;
  std::string before_;
};

}  // namespace ktstr
