#include <memory>
#include <utility>

#include "orchestrator/library/ktstr.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

class Case : public testing::Test {
 public:
  Case(const TestSpec& spec, ContextFunction body) : spec_(spec), body_(body) {}

  void TestBody() override {
    try {
      Context context(spec_);
      body_(context);
    } catch (const Skipped&) {
      return;
    } catch (const Error& error) {
      FAIL() << error.what();
    }
  }

 private:
  const TestSpec& spec_;
  ContextFunction body_;
};

}  // namespace

Scheduler named(const char* name, Scheduler scheduler) {
  if (scheduler.name.empty()) scheduler.name = name;
  return scheduler;
}

bool registerTest(const char* name, const char* file, int line, TestSpec spec, ContextFunction body) {
  const auto kept = std::make_shared<TestSpec>(std::move(spec));
  testing::RegisterTest("Ktstr", name, nullptr, nullptr, file, line,
                        [kept, body]() -> testing::Test* { return new Case(*kept, body); });
  return true;
}

}  // namespace ktstr
