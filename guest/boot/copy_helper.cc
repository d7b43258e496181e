#include "guest/boot/copy_helper.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>

#include "protocol/error.h"
#include "protocol/fd.h"

namespace ktstr {

struct CopyHelper::Work {
  int from = -1, to = -1;
  uint64_t fromOffset = 0, toOffset = 0, size = 0;
  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false, begun = false, done = false;
  std::exception_ptr failure;

  void run();
  void copy() const;
};

namespace {

void readInto(int file, std::byte* target, off_t begin, off_t end) {
  while (begin < end) {
    const ssize_t got = pread(file, target, static_cast<size_t>(end - begin), begin);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw errnoError("copy-failed", "read the kernel image", "", got < 0 ? errno : EIO);
    begin += got;
    target += got;
  }
}

}  // namespace

void CopyHelper::Work::copy() const {
  const Mapping memory(to, toOffset, size, PROT_READ | PROT_WRITE);
  const auto start = static_cast<off_t>(fromOffset), end = static_cast<off_t>(fromOffset + size);
  off_t at = start;
  while (at < end) {
    const off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // nothing but a hole up to the end
    if (data < 0) throw errnoError("copy-failed", "look for data in the kernel image");
    if (data >= end) return;
    at = std::min(lseek(from, data, SEEK_HOLE), end);
    readInto(from, memory.data() + (data - start), data, at);
  }
}

void CopyHelper::Work::run() {
  const std::string own(4096, 'x');  // its heap: made now
  std::unique_lock lock(mutex);
  ready = own.size() > 0;
  changed.notify_all();
  changed.wait(lock, [this] { return begun; });
  try {
    copy();
  } catch (...) {
    failure = std::current_exception();
  }
  done = true;
  changed.notify_all();
  changed.wait(lock,
               [] { return false; });  // no thread may end in a sandbox that does not know how threads end
}

CopyHelper::CopyHelper() : work_(new Work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([work = work_] { work->run(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // A thread on its way up makes calls that it may not make later.
  std::unique_lock lock(work_->mutex);
  work_->changed.wait(lock, [this] { return work_->ready; });
}

void CopyHelper::begin(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size) {
  const std::lock_guard lock(work_->mutex);
  work_->from = from;
  work_->to = to;
  work_->fromOffset = fromOffset;
  work_->toOffset = toOffset;
  work_->size = size;
  work_->begun = true;
  work_->changed.notify_all();
}

void CopyHelper::finish() {
  std::unique_lock lock(work_->mutex);
  if (!work_->begun) return;
  work_->changed.wait(lock, [this] { return work_->done; });
  if (work_->failure) std::rethrow_exception(work_->failure);
}

}  // namespace ktstr
