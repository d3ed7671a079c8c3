global using Slipway.Server;
global using Xunit;
