// The option table: every option of the configuration, declared once.
#pragma once

#include "config/config.h"
#include "config/internal/shape.h"

namespace tidemark::config {

const Shape<Config>& options();

// Fills in the defaults that follow from other options.
void fill_derived(Config& config);
// Adds what is wrong between options that are each right by themselves.
void validate(const Config& config, Context& context);

}  // namespace tidemark::config
