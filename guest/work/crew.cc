#include "guest/work/crew.h"

#include <signal.h>

#include <thread>

namespace ktstr::work {
namespace {

thread_local WorkerPage* own = nullptr;

void noteCrash(int number) {
  if (own != nullptr) own->crashSignal.store(static_cast<uint32_t>(number));
  signal(number, SIG_DFL);
  raise(number);
}

void runOne(const Hand& hand, int startFd) noexcept {
  own = &hand.group->page(hand.index);
  if (hand.prepare) hand.prepare();
  hand.group->run(hand.index, startFd);
  own = nullptr;
}

}  // namespace

void runCrew(const std::vector<Hand>& crew, bool threaded, int startFd) noexcept {
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) signal(number, noteCrash);
  if (!threaded) return runOne(crew.front(), startFd);
  std::vector<std::thread> threads;
  for (const Hand& hand : crew) threads.emplace_back([&hand, startFd] { runOne(hand, startFd); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace ktstr::work
