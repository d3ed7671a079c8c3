namespace Slipway.Foundation;

/// <summary>
/// Reads of one kind that share their statements: what waits when a reader is free is asked in one piece, so that many
/// callers cost few round trips. One caller alone waits for nobody.
/// </summary>
/// <param name="database">Where they are read.</param>
/// <param name="read">Answers all questions, in their order.</param>
public sealed class ReadTogether<TQuestion, TAnswer>(Database database, Func<Session, IReadOnlyList<TQuestion>, Task<IReadOnlyList<TAnswer>>> read)
{
    /// <summary>While the database works for one reader, the answers of the other are sent.</summary>
    private const int Readers = 2;
    private const int Most = 100;
    private readonly Lock gate = new();
    private readonly Queue<(TQuestion Question, TaskCompletionSource<TAnswer> Answer)> waiting = new();
    private int reading;

    /// <summary>Returns what was true at some moment after the call.</summary>
    public Task<TAnswer> AskAsync(TQuestion question)
    {
        var answer = new TaskCompletionSource<TAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
        {
            waiting.Enqueue((question, answer));
            if (reading == Readers)
            {
                return answer.Task;
            }

            reading++;
        }

        _ = ReadAsync();
        return answer.Task;
    }

    private async Task ReadAsync()
    {
        while (Take() is { Count: > 0 } taken)
        {
            try
            {
                var answers = await database.ReadAsync(session => read(session, taken.ConvertAll(w => w.Question)), CancellationToken.None);
                for (var i = 0; i < taken.Count; i++)
                {
                    taken[i].Answer.SetResult(answers[i]);
                }
            }
            catch (Exception e)
            {
                taken.ForEach(w => w.Answer.TrySetException(e));
            }
        }
    }

    private List<(TQuestion Question, TaskCompletionSource<TAnswer> Answer)> Take()
    {
        lock (gate)
        {
            var taken = new List<(TQuestion, TaskCompletionSource<TAnswer>)>(Math.Min(Most, waiting.Count));
            while (taken.Count < Most && waiting.TryDequeue(out var next))
            {
                taken.Add(next);
            }

            reading -= taken.Count == 0 ? 1 : 0;
            return taken;
        }
    }
}
