/**
 * The little JSON that the executable needs: to quote text, and to find one string member of an
 * object. It judges nothing else: what is malformed is the controller's to name.
 */
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace evio {

/** The text as a JSON string with its quotes; bytes above 0x7f stay as they are. */
std::string quoted(std::string_view text);

/**
 * The value of a string member of the outermost object, or nothing: also where the text is no
 * object, the member is no string, or the string has escapes (a path or version needs none).
 */
std::optional<std::string_view> topLevelString(std::string_view json, std::string_view key);

}  // namespace evio
