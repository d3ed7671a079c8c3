using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

/// <summary>Random searches over random runs give what a plain evaluation in memory gives, page by page.</summary>
public sealed class SearchPropertyTests
{
    private static readonly double[] Values = [-1, 0, 0.5, 0.5, 2, double.NaN, double.PositiveInfinity];
    private static readonly string[] Texts = ["x", "X", "y%z", "yaz", ""];
    private static readonly string[] Patterns = ["x", "%", "y_z", "Y%", "_", ""];

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public static TheoryData<Engine, bool> Cases => new() { { Engine.Sqlite, false }, { Engine.Sqlite, true }, { Engine.Postgres, false }, { Engine.Postgres, true } };

    /// <param name="engine">The database.</param>
    /// <param name="large">Whether the experiments count as large, so that rare conditions lead.</param>
    [Theory, MemberData(nameof(Cases))]
    public async Task Searches_agree_with_a_plain_evaluation(Engine engine, bool large)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        runs.LargeExperiment = large ? 1 : int.MaxValue;
        var random = new Random(7);
        var second = (await world.Get<Experiments>().CreateAsync(TestWorld.Ada, "second", null, [], Ct)).Id;
        var all = new List<Run>();
        for (var i = 0; i < 60; i++)
        {
            all.Add(await AddAsync(runs, random, i % 4 == 0 ? second : "0"));
        }

        for (var i = 0; i < 120; i++)
        {
            string[][] scopes = [["0"], ["0"], [second], ["0", second]];
            var scope = scopes[random.Next(scopes.Length)];
            var conditions = Enumerable.Range(0, random.Next(4)).Select(_ => Condition(random)).ToList();
            var order = Enumerable.Range(0, random.Next(3)).Select(_ => Order(random)).DistinctBy(o => o.Field).ToList();
            var expected = all.Where(r => scope.Contains(r.ExperimentId) && conditions.TrueForAll(c => c.Holds(r)));
            var sorted = expected.Order(Comparer<Run>.Create((a, b) => Compare(a, b, order))).Select(r => r.Id).ToList();
            var search = new RunSearch
            {
                ExperimentIds = scope,
                Filter = string.Join(" AND ", conditions.Select(c => c.Text)),
                OrderBy = order.ConvertAll(o => o.Descending ? $"{o.Field} DESC" : o.Field),
                Limit = random.Next(1, 20),
            };

            var found = new List<string>();
            for (string? token = null; ;)
            {
                var page = await runs.SearchAsync(search with { PageToken = token }, Ct);
                found.AddRange(page.Items.Select(r => r.Id));
                token = page.NextToken;
                if (token is null || found.Count > all.Count)
                {
                    break;
                }
            }

            Assert.True(sorted.SequenceEqual(found), $"filter [{search.Filter}], order [{string.Join(", ", search.OrderBy)}], experiments {string.Join(',', scope)}, pages of {search.Limit}");
        }
    }

    /// <summary>Points in any order, with repetitions and from several writers, give each point once, in order, on every page size.</summary>
    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_history_holds_each_point_once_in_order(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var random = new Random(3);
        var written = new HashSet<(long Time, long Step, double Value)>();
        for (var round = 0; round < 12; round++)
        {
            await Task.WhenAll(Enumerable.Range(0, 4).Select(_ =>
            {
                var points = Enumerable.Range(0, 200).Select(_ => new MetricPoint("m", Values[random.Next(Values.Length)] + random.Next(3), random.Next(800), random.Next(-3, 3))).ToList();
                points.ForEach(p => written.Add((p.TimestampMs, p.Step, p.Value)));
                return runs.LogBatchAsync(TestWorld.Ada, run.Id, points, [], [], Ct);
            }));
            if (round % 3 == 0)
            {
                Assert.NotEmpty((await runs.GetAsync(run.Id, Ct)).Metrics);
            }
        }

        var expected = written.OrderBy(p => p.Time).ThenBy(p => p.Step).ThenBy(p => double.IsNaN(p.Value)).ThenBy(p => p.Value).ToList();
        foreach (var size in new int?[] { null, 100, 777 })
        {
            var read = new List<(long, long, double)>();
            for (string? token = null; ;)
            {
                var page = await runs.HistoryAsync(run.Id, "m", size, token, Ct);
                read.AddRange(page.Items.Select(p => (p.TimestampMs, p.Step, p.Value)));
                token = page.NextToken;
                if (token is null)
                {
                    break;
                }
            }

            Assert.Equal(expected, read);
        }

        var latest = Assert.Single((await runs.GetAsync(run.Id, Ct)).Metrics);
        var last = written.OrderBy(p => p.Step).ThenBy(p => p.Time).ThenBy(p => !double.IsNaN(p.Value)).ThenBy(p => p.Value).Last();
        Assert.Equal(last, (latest.TimestampMs, latest.Step, latest.Value));
    }

    private static async Task<Run> AddAsync(Runs runs, Random random, string experiment)
    {
        var run = await runs.CreateAsync(
            TestWorld.Ada,
            new CreateRun { ExperimentId = experiment, Name = $"run{random.Next(6)}", UserId = Texts[random.Next(3)], StartTime = DateTimeOffset.FromUnixTimeMilliseconds(1000 + random.Next(8)) },
            Ct);
        MetricPoint[] metrics = [.. new[] { "m", "n" }.Where(_ => random.Next(4) > 0).Select(k => new MetricPoint(k, Values[random.Next(Values.Length)], 1))];
        Param[] parameters = [.. new[] { "p", "q" }.Where(_ => random.Next(3) > 0).Select(k => new Param(k, Texts[random.Next(Texts.Length)]))];
        Tag[] tags = random.Next(2) == 0 ? [] : [new Tag("t", Texts[random.Next(Texts.Length)])];
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, metrics, parameters, tags, Ct);
        if (random.Next(3) == 0)
        {
            await runs.UpdateAsync(TestWorld.Ada, run.Id, new RunChange(RunStatus.Finished, DateTimeOffset.FromUnixTimeMilliseconds(2000 + random.Next(3))), Ct);
        }

        if (random.Next(3) == 0)
        {
            await runs.LogInputAsync(TestWorld.Ada, run.Id, new DatasetInput("flights", $"d{random.Next(2)}", "local", "{}", Context: random.Next(2) == 0 ? null : "train"), Ct);
        }

        return await runs.GetAsync(run.Id, Ct);
    }

    private static (string Text, Func<Run, bool> Holds) Condition(Random random)
    {
        var text = Texts[random.Next(Texts.Length)];
        var pattern = Patterns[random.Next(Patterns.Length)];
        switch (random.Next(7))
        {
            case 0 or 1:
                var key = random.Next(2) == 0 ? "m" : "n";
                var value = new[] { -1, 0, 0.5, 1 }[random.Next(4)];
                var sign = new[] { "=", "!=", ">", ">=", "<", "<=" }[random.Next(6)];
                return (FormattableString.Invariant($"metrics.{key} {sign} {value}"), r => r.Metric(key) is { } v && sign switch
                {
                    "=" => v == value,
                    "!=" => v != value,
                    ">" => v > value,
                    ">=" => v >= value,
                    "<" => v < value,
                    _ => v <= value,
                });
            case 2 or 3:
                return OfText($"params.{(random.Next(2) == 0 ? "p" : "q")}", random, text, pattern);
            case 4:
                return OfText("tags.t", random, text, pattern);
            case 5:
                return random.Next(2) == 0
                    ? ($"user_id = '{text}'", r => r.UserId == text)
                    : ("start_time >= 1004", r => r.StartedAt.ToUnixTimeMilliseconds() >= 1004);
            default:
                return random.Next(2) == 0
                    ? ("dataset.digest IN ('d0', 'other')", r => r.Inputs.Any(i => i.Digest == "d0"))
                    : ("dataset.context = 'train'", r => r.Inputs.Any(i => i.Context == "train"));
        }
    }

    private static (string Text, Func<Run, bool> Holds) OfText(string field, Random random, string text, string pattern)
    {
        string? Of(Run r) => Text(r, field);
        return random.Next(6) switch
        {
            0 => ($"{field} = '{text}'", r => Of(r) == text),
            1 => ($"{field} != '{text}'", r => Of(r) is { } v && v != text),
            2 => ($"{field} LIKE '{pattern}'", r => Of(r) is { } v && Like(v, pattern)),
            3 => ($"{field} ILIKE '{pattern}'", r => Of(r) is { } v && Like(v.ToLowerInvariant(), pattern.ToLowerInvariant())),
            4 => ($"{field} IS NULL", r => Of(r) is null),
            _ => ($"{field} IS NOT NULL", r => Of(r) is not null),
        };
    }

    private static bool Like(ReadOnlySpan<char> text, ReadOnlySpan<char> pattern)
    {
        if (pattern.IsEmpty)
        {
            return text.IsEmpty;
        }

        if (pattern[0] == '%')
        {
            return Like(text, pattern[1..]) || (!text.IsEmpty && Like(text[1..], pattern));
        }

        return !text.IsEmpty && (pattern[0] == '_' || pattern[0] == text[0]) && Like(text[1..], pattern[1..]);
    }

    private static (string Field, bool Descending) Order(Random random)
    {
        string[] fields = ["metrics.m", "metrics.n", "params.p", "tags.t", "start_time", "end_time", "run_name", "run_id"];
        return (fields[random.Next(fields.Length)], random.Next(2) == 0);
    }

    private static int Compare(Run a, Run b, List<(string Field, bool Descending)> order)
    {
        foreach (var (field, descending) in order.Append(("start_time", true)).Append(("run_id", false)))
        {
            var compared = Compare(a, b, field, descending);
            if (compared != 0)
            {
                return compared;
            }
        }

        return 0;
    }

    private static int Compare(Run a, Run b, string field, bool descending)
    {
        int Sign(int compared) => descending ? -compared : compared;
        if (field.StartsWith("metrics.", StringComparison.Ordinal))
        {
            static int Class(double? v) => v is null ? 2 : double.IsNaN(v.Value) ? 1 : 0;
            var (x, y) = (a.Metric(field[8..]), b.Metric(field[8..]));
            var classes = Class(x).CompareTo(Class(y));
            return classes != 0 ? classes : Class(x) == 0 ? Sign(x!.Value.CompareTo(y!.Value)) : 0;
        }

        if (field is "start_time")
        {
            return Sign(a.StartedAt.CompareTo(b.StartedAt));
        }

        if (field is "end_time")
        {
            return a.EndedAt is null || b.EndedAt is null ? (a.EndedAt is null).CompareTo(b.EndedAt is null) : Sign(a.EndedAt.Value.CompareTo(b.EndedAt.Value));
        }

        var (left, right) = (Text(a, field), Text(b, field));
        return left is null || right is null ? (left is null).CompareTo(right is null) : Sign(string.CompareOrdinal(left, right));
    }

    private static string? Text(Run run, string field)
    {
        switch (field)
        {
            case "run_name":
                return run.Name;
            case "run_id":
                return run.Id;
            case "tags.t":
                return run.Tags.Where(t => t.Key == "t").Select(t => t.Value).FirstOrDefault();
            default:
                return run.Params.Where(p => p.Key == field[7..]).Select(p => p.Value).FirstOrDefault();
        }
    }
}
