/**
 * The way from JavaScript into a thread: changes of its tables, in order, and a stop sign. Wakes
 * the thread by an eventfd. Nothing else is shared by lock.
 */
#pragma once
#include <functional>
#include <mutex>
#include <vector>

#include "tables.h"

namespace evio {

using Change = std::function<void(Tables&)>;

class Commands {
 public:
  ~Commands();
  bool open();
  int fd() const { return fd_; }
  void post(Change change);
  void stop();
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  /** Something waits; cheap enough to ask for each batch of packets. */
  bool waiting() const { return waiting_.load(std::memory_order_acquire); }
  /** Applies what waits, in order; on the thread itself. */
  void apply(Tables* tables);

 private:
  void wake();

  int fd_ = -1;
  std::mutex mutex_;
  std::vector<Change> changes_;
  std::atomic<bool> waiting_{false};
  std::atomic<bool> stopped_{false};
};

}  // namespace evio
