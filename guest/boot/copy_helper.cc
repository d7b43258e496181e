#include "guest/boot/copy_helper.h"

#include <signal.h>
#include <sys/mman.h>

#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/sparse.h"

namespace ktstr {

struct CopyHelper::Work {
  int from = -1;
  uint64_t fromOffset = 0;
  Mapping target;
  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false, begun = false, done = false;
  std::exception_ptr failure;

  void run();
};

void CopyHelper::Work::run() {
  void* volatile heap = malloc(1);  // a thread's first allocation maps its arena
  free(heap);
  std::unique_lock lock(mutex);
  ready = true;
  changed.notify_all();
  changed.wait(lock, [this] { return begun; });
  try {
    readSparse(from, fromOffset, target.bytes());
  } catch (...) {
    failure = std::current_exception();
  }
  done = true;
  changed.notify_all();
  // A thread that ends makes calls that no sandbox of ours allows: it waits for the process to end.
  changed.wait(lock, [] { return false; });
}

CopyHelper::CopyHelper() : work_(new Work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([work = work_] { work->run(); }).detach();
  } catch (const std::system_error& error) {
    throw errnoError("thread-failed", "start a thread", "raise the limit on processes (ulimit -u)",
                     error.code().value());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  std::unique_lock lock(work_->mutex);
  work_->changed.wait(lock, [this] { return work_->ready; });
}

void CopyHelper::begin(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size) {
  const std::lock_guard lock(work_->mutex);
  work_->target = Mapping(to, toOffset, size, PROT_READ | PROT_WRITE);
  work_->from = from;
  work_->fromOffset = fromOffset;
  work_->begun = true;
  work_->changed.notify_all();
}

void CopyHelper::finish() {
  std::unique_lock lock(work_->mutex);
  if (!work_->begun) return;
  work_->changed.wait(lock, [this] { return work_->done; });
  work_->target = Mapping();
  if (work_->failure) std::rethrow_exception(work_->failure);
}

}  // namespace ktstr
