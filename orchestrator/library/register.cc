#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <utility>

#include "guest/work/custom.h"
#include "guest/work/handover.h"
#include "orchestrator/library/ktstr.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

class Case : public testing::Test {
 public:
  Case(std::shared_ptr<const TestSpec> spec, std::string kernel, ContextFunction body)
      : spec_(std::move(spec)), kernel_(std::move(kernel)), body_(body) {}

  void TestBody() override {
    try {
      Context context(*spec_, kernel_.empty() ? kernelsOf(*spec_).front() : kernel_);
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
  const Words kernels = kept->hostOnly ? Words{""} : kernelsOf(*kept);
  // One may come from the environment, and is not to be part of what CTest has once listed.
  if (kernels.size() < 2) add(name, nullptr, "");
  for (size_t i = 0; kernels.size() > 1 && i < kernels.size(); i++)
    add(std::string(name) + "/" + asName(kernels[i]), kernels[i].c_str(), kernels[i]);
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
