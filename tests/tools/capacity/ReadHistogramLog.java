import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

/** What HdrHistogram's own reader finds in a log: a line of tag, count, 50th and 99th percentile and maximum each. */
public final class ReadHistogramLog {
  public static void main(String[] args) throws Exception {
    HistogramLogReader reader = new HistogramLogReader(args[0]);
    for (Object next = reader.nextIntervalHistogram(); next != null; next = reader.nextIntervalHistogram()) {
      Histogram histogram = (Histogram) next;
      System.out.println(histogram.getTag() + " " + histogram.getTotalCount() + " " + histogram.getValueAtPercentile(50)
          + " " + histogram.getValueAtPercentile(99) + " " + histogram.getMaxValue());
    }
  }
}
