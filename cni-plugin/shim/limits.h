/**
 * How much and how long: every bound of the executable, each with its reason. A runtime waits for
 * it, so nothing here may wait for ever.
 */
#pragma once

#include <cstddef>

namespace evio {

/** A network configuration with its prevResult; those of real chains have some kilobytes. */
inline constexpr size_t maxConfigBytes = 1 << 20;
/** One CNI_ variable: CNI_ARGS and CNI_PATH are the long ones. */
inline constexpr size_t maxVariableBytes = 16 << 10;
/** An answer: a result with hundreds of addresses stays below. */
inline constexpr size_t maxAnswerBytes = 4 << 20;

/** For a runtime to write the configuration. */
inline constexpr int readConfigMs = 10'000;
/** For a controller that is being started, or restarted, at this moment. */
inline constexpr int waitForControllerMs = 2'000;
inline constexpr int retryEveryMs = 25;
/** For the answer: the controller has deadlines of its own, which are shorter. */
inline constexpr int answerMs = 60'000;
/** STATUS is asked every few seconds, and a slow answer holds a runtime up. */
inline constexpr int statusAnswerMs = 5'000;

}  // namespace evio
