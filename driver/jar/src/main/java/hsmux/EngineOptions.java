package hsmux;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * How an engine is opened.
 *
 * @param configFile a TOML file (docs/configuration.md); or else
 * @param configText its text, with {@code configFolder} as the folder that relative paths start from
 * @param lentPins descriptors of {@link Engine#lendPin} that the text refers to; closed with the engine, or when it
 *     cannot be opened
 * @param slotsAtStartMin how many slots must be ready; 0 = all
 * @param connectTimeout how long to wait for them
 */
public record EngineOptions(
    Optional<String> configFile,
    Optional<String> configText,
    String configFolder,
    List<Integer> lentPins,
    int slotsAtStartMin,
    Duration connectTimeout,
    LogSink log) {}
