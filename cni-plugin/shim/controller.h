/**
 * One question to the controller over its Unix socket, by HTTP. Owns the connection and its
 * deadlines; knows nothing of CNI.
 */
#pragma once

#include <string>
#include <string_view>

namespace evio {

struct Answer {
  enum class Kind {
    /** The controller answered; `status` and `body` are its. */
    answered,
    /** Nobody listens on the socket. */
    absent,
    /** It was there, and ended or fell silent before the answer was complete. */
    broken,
  };
  Kind kind;
  int status = 0;
  std::string body;
  /** What went wrong, in words, unless it answered. */
  std::string why;
};

/** Milliseconds of a clock that only goes forward. */
long long nowMs();

/** Waits `waitMs` at most for somebody to listen, then `answerMs` at most for the answer. */
Answer ask(const std::string& socketPath, std::string_view body, int waitMs, int answerMs);

}  // namespace evio
