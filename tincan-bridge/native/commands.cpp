/** Commands: a vector that is swapped out under its mutex. */
#include "commands.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace evio {

Commands::~Commands() {
  if (fd_ >= 0) close(fd_);
}

bool Commands::open() {
  fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd_ >= 0;
}

void Commands::wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is being woken already.
  if (write(fd_, &one, sizeof one) < 0) return;
}

void Commands::post(Change change) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    first = changes_.empty();
    changes_.push_back(std::move(change));
    waiting_.store(true, std::memory_order_release);
  }
  if (first) wake();
}

void Commands::stop() {
  stopped_.store(true, std::memory_order_release);
  waiting_.store(true, std::memory_order_release);
  wake();
}

void Commands::apply(Tables* tables) {
  std::vector<Change> changes;
  uint64_t count;
  if (read(fd_, &count, sizeof count) < 0) {
    // Nothing to read: the flag was seen before the eventfd; the changes are there all the same.
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    changes.swap(changes_);
    waiting_.store(stopped_.load(std::memory_order_acquire), std::memory_order_release);
  }
  for (const Change& change : changes) change(*tables);
}

}  // namespace evio
