#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

#include "guest/work/custom.h"
#include "guest/work/handover.h"
#include "orchestrator/library/ktstr.h"
#include "orchestrator/library/tools.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

class Case : public testing::Test {
 public:
  // `kernel`: empty if it declares but one; a range if that could not be resolved.
  Case(std::shared_ptr<const TestSpec> spec, std::string kernel, ContextFunction body)
      : spec_(std::move(spec)), kernel_(std::move(kernel)), body_(body) {}

  void TestBody() override {
    try {
      const std::string kernel = kernel_.empty() ? kernelsOf(*spec_).front() : kernel_;
      if (isKernelRange(kernel)) {
        expandKernel(kernel);
        FAIL() << kernel
               << " is several kernels, where a test wants one; the tests of a range are known when "
               << "the program starts";
      }
      Context context(*spec_, kernel);
      body_(context);
    } catch (const Skipped&) {
      return;
    } catch (const Error& error) {
      FAIL() << error.what();
    }
  }

 private:
  std::shared_ptr<const TestSpec> spec_;
  std::string kernel_;
  ContextFunction body_;
};

// The only test there is where this program is a worker's process in the guest.
class Handed : public testing::Test {
 public:
  void TestBody() override { work::runHandedOver(getenv(work::handoverVariable)); }
};

bool isWorker() {
  return getenv(work::handoverVariable) != nullptr;
}

// A range stays one where nobody says what it stands for: its test fails with the reason.
const Words& resolved(const std::string& name) {
  static std::map<std::string, Words> known;
  const auto [place, first] = known.try_emplace(name, Words{name});
  try {
    if (first) place->second = expandKernel(name);
  } catch (const Error&) {
  }
  return place->second;
}

Words resolved(const Words& names) {
  Words kernels;
  for (const std::string& name : names) {
    for (const std::string& kernel : resolved(name)) {
      if (std::find(kernels.begin(), kernels.end(), kernel) == kernels.end()) kernels.push_back(kernel);
    }
  }
  return kernels;
}

std::string asName(std::string kernel) {
  std::replace_if(
      kernel.begin(), kernel.end(), [](char c) { return isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return kernel;
}

}  // namespace

Scheduler named(const char* name, Scheduler scheduler) {
  if (scheduler.name.empty()) scheduler.name = name;
  return scheduler;
}

bool registerTest(const char* name, const char* file, int line, TestSpec spec, ContextFunction body) {
  if (isWorker()) return false;
  const auto kept = std::make_shared<const TestSpec>(std::move(spec));
  const auto add = [&](const std::string& called, const char* parameter, const std::string& kernel) {
    testing::RegisterTest("Ktstr", called.c_str(), nullptr, parameter, file, line,
                          [kept, kernel, body]() -> testing::Test* { return new Case(kept, kernel, body); });
  };
  // One may come from the environment, and is not to be part of what CTest has once listed.
  const Words declared = kept->hostOnly ? Words{} : declaredKernels(*kept);
  const bool one = declared.empty() || (declared.size() == 1 && !isKernelRange(declared.front()));
  if (one) add(name, nullptr, "");
  for (const std::string& kernel : one ? Words{} : resolved(declared))
    add(std::string(name) + "/" + asName(kernel), kernel.c_str(), kernel);
  return true;
}

bool registerWork(const char* name, const char* file, int line, work::CustomFunction function) {
  static bool first = true;
  if (isWorker() && std::exchange(first, false)) {
    testing::RegisterTest("KtstrWorker", "run", nullptr, nullptr, file, line,
                          []() -> testing::Test* { return new Handed; });
  }
  work::registerCustom(name, function);
  return true;
}

}  // namespace ktstr
