// The option table: every option of the configuration, declared once.
#pragma once

#include "config/config.h"
#include "config/internal/shape.h"

namespace tidemark::config {

const Shape<Config>& options();

// Sections of it that stand in other files, or in several places.
ShapePtr<ObjectiveConfig> objective_section();
ShapePtr<DrillConfig> drill_section();
ShapePtr<KubernetesConfig> kubernetes_section();
ShapePtr<ClaimsConfig> claims_section();
ShapePtr<PodHooksConfig> pod_hooks_section();

// Fills in the defaults that follow from other options.
void fill_derived(Config& config);
// Adds what is wrong between options that are each right by themselves.
void validate(const Config& config, Context& context);

}  // namespace tidemark::config
