#include "guest/work/setup_notes.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "protocol/file.h"

namespace ktstr::work {

SetupNotes::SetupNotes(uint32_t workers) : SetupNotes(workers, makeMemfd("setup", workers * sizeof(Note))) {}

SetupNotes::SetupNotes(uint32_t workers, Fd file)
    : file_(std::move(file)), memory_(file_.get(), 0, workers * sizeof(Note), PROT_READ | PROT_WRITE) {}

SetupNotes::Note& SetupNotes::note(uint32_t worker) const {
  return reinterpret_cast<Note*>(memory_.data())[worker];
}

void SetupNotes::leave(uint32_t worker, const std::string& message) {
  Note& own = note(worker);
  message.copy(own.message, sizeof own.message - 1);
  own.left.store(1, std::memory_order_release);
}

std::optional<std::string> SetupNotes::read(uint32_t worker) const {
  const Note& one = note(worker);
  if (one.left.load(std::memory_order_acquire) == 0) return std::nullopt;
  return std::string(one.message, strnlen(one.message, sizeof one.message));
}

}  // namespace ktstr::work
