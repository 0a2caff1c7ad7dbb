package hsmux;

/**
 * What submitted work is doing.
 *
 * @param submitted and not ended
 * @param waiting for a session
 * @param threads of the engine
 * @param quarantined threads that the module does not let go
 */
public record WorkStats(long submitted, long waiting, long threads, long idle, long quarantined) {}
