namespace Slipway.Samples.MlNet;

/// <summary>A machine, and whether it failed within a week. The fleet is drawn from a seed, so that everyone sees the same numbers.</summary>
internal sealed class Machine
{
    /// <summary>Degrees Celsius at the bearing.</summary>
    public float Temperature { get; set; }

    /// <summary>Millimetres a second.</summary>
    public float Vibration { get; set; }

    /// <summary>Years in use.</summary>
    public float Age { get; set; }

    public bool Failed { get; set; }

    /// <summary>Hot, shaking, old machines fail more often.</summary>
    public static IEnumerable<Machine> Fleet(int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var machine = new Machine
            {
                Temperature = 50 + (30 * random.NextSingle()),
                Vibration = 1 + (6 * random.NextSingle()),
                Age = 12 * random.NextSingle(),
            };
            var risk = (0.15 * (machine.Temperature - 65)) + (0.9 * (machine.Vibration - 4)) + (0.3 * (machine.Age - 6));
            machine.Failed = random.NextDouble() < 1 / (1 + Math.Exp(-risk));
            yield return machine;
        }
    }
}
