// What goes wrong is thrown as cnngen::Error, with a message for the person who can mend it.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cnngen {

class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What was passed to a call does not fit the network: its shape, type, layout, device or count.
class ArgumentError : public Error {
    using Error::Error;
};

// The parts, one after the other, as text.
template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    out.precision(9);  // enough digits to tell any two floats apart
    (out << ... << parts);
    return out.str();
}

// "51.2 MiB"
inline std::string size_text(std::size_t bytes) {
    double value = static_cast<double>(bytes);
    const char* unit = "B";
    for (const char* larger : {"KiB", "MiB", "GiB"}) {
        if (value < 1024) break;
        value /= 1024;
        unit = larger;
    }
    std::ostringstream out;
    out.precision(value < 10 && unit[1] ? 2 : value < 100 && unit[1] ? 1 : 0);
    out << std::fixed << value << " " << unit;
    return out.str();
}

}  // namespace cnngen
